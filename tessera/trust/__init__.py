"""What an outsider needs to check what Tessera signed: receipts of erasure, and the audit trail.

Stands beside the chassis, knows the domain alone, and reads: what signs and writes is in `gallery_svc`.
"""
