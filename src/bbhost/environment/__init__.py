"""The owner of environments: who exists, one nursery per state, and the work of each state.

It reads as the life of an environment: ``supervisor`` (who exists), ``actor`` (the loop),
``provisioning``, ``ready``, ``destroying`` (the work of each state), ``handle`` (what others may ask).
"""
