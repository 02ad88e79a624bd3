"""edgebench: MEMO, DiffDIS and TRACE rebuilt from data to printed table."""

__version__ = "0.1.0"
