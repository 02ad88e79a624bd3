"""The one exception that people are meant to read."""


class EdgebenchError(Exception):
    """Something the person can put right.

    The message names the file, the key or image, the value, and what to type next. The command line prints
    it without a traceback and exits with status 2.
    """


class ConfigError(EdgebenchError):
    """A setting, an experiment or a definition file is wrong."""


class DataError(EdgebenchError):
    """An image, an annotation, a download or a weight file is missing, damaged or of the wrong kind."""
