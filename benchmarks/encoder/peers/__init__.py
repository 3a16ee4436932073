"""The same networks behind other servers: what each of them runs, in the way its documentation shows.

These modules run in an environment of their own (build/peers), which borrows torch and Tessera from ours.
"""
