"""Numbers, and what the system says of files, as people read them."""


def duration(seconds: float, *, tenths: bool = False) -> str:
    """Return a time; less than a minute in tenths of a second where they are wanted.

    Examples
    --------
    >>> from npconv.oracle.words import duration
    >>> duration(3725.0), duration(61.4), duration(2.34), duration(2.34, tenths=True)
    ('1 h 02 min', '1 min 01 s', '2 s', '2.3 s')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    if minutes:
        return f"{minutes} min {rest:02} s"
    return f"{seconds:.1f} s" if tenths else f"{rest} s"


def counted(count: int, noun: str) -> str:
    """Return a number and its noun.

    Examples
    --------
    >>> from npconv.oracle.words import counted
    >>> counted(1, "case"), counted(1200, "case")
    ('1 case', '1,200 cases')
    """
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def of_file(error: Exception) -> str:
    """Return what an error says; the system's of a file as the file and why, without its number.

    Examples
    --------
    >>> from npconv.oracle.words import of_file
    >>> of_file(FileNotFoundError(2, "No such file or directory", "known.txt"))
    "'known.txt': No such file or directory"
    """
    if not isinstance(error, OSError) or error.filename is None or error.strerror is None:
        return str(error)
    return f"{str(error.filename)!r}: {error.strerror}"
