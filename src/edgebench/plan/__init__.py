"""From definition files to runs with identities. Imports nothing heavy: the workflow is built from it."""
