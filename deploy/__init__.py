"""What a site runs Tessera with, and the pages and dashboards that are written from the code."""
