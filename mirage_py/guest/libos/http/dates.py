# SPDX-License-Identifier: MIT
"""Dates of HTTP (RFC 9110 section 5.6.7): Unix seconds to octets and back."""

_DAYS = b"Thu Fri Sat Sun Mon Tue Wed "  # 1970-01-01 was a Thursday
_MONTHS = b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec "
_LAST_S = 253402300799  # the end of the year 9999


def format(seconds):
    """b"Sun, 06 Nov 1994 08:49:37 GMT". ValueError outside of the years 1970 to 9999."""
    if not 0 <= seconds <= _LAST_S:
        raise ValueError("a date outside of the years 1970 to 9999")
    days, second = divmod(int(seconds), 86400)
    # Days to year, month, day, with years that begin in March, so that a leap day is the last day of its year.
    day = days + 719468
    era, day = divmod(day, 146097)
    year = (day - day // 1460 + day // 36524 - day // 146096) // 365
    day -= 365 * year + year // 4 - year // 100
    month = (5 * day + 2) // 153
    day -= (153 * month + 2) // 5 - 1
    month = (month + 2) % 12
    year += era * 400 + (month < 2)
    name = 4 * (days % 7)
    return b"%s, %02d %s %d %02d:%02d:%02d GMT" % (
        _DAYS[name : name + 3],
        day,
        _MONTHS[4 * month : 4 * month + 3],
        year,
        second // 3600,
        second // 60 % 60,
        second % 60,
    )


def parse(data):
    """Unix seconds, or None for what is no date. All three formats: the preferred one, RFC 850's, and asctime's.

    Years of two digits are those from 1970 to 2069. The name of the day is not compared with the date.
    """
    if len(data) > 40:
        return None
    words = data.split()
    if len(words) == 4 and len(words[1]) == 9 and words[3] == b"GMT":
        words[1:2] = words[1].split(b"-")  # Sunday, 06-Nov-94 08:49:37 GMT
        if len(words) == 6 and len(words[3]) == 2 and words[3].isdigit():
            year = int(words[3])
            words[3] = b"%d" % (year + (1900 if year >= 70 else 2000))
    elif len(words) == 5:
        words = [words[0], words[2], words[1], words[4], words[3], b"GMT"]  # Sun Nov  6 08:49:37 1994
    if len(words) != 6 or words[5] != b"GMT" or len(words[3]) != 4:
        return None
    clock = words[4].split(b":")
    at = _MONTHS.find(words[2] + b" ")
    if at % 4 or len(words[2]) != 3 or len(clock) != 3 or len(words[4]) != 8 or len(words[1]) > 2:
        return None
    for number in (words[1], words[3], clock[0], clock[1], clock[2]):
        if not number.isdigit():
            return None
    month = at // 4
    day = int(words[1])
    year = int(words[3])
    hour, minute, second = int(clock[0]), int(clock[1]), int(clock[2])
    if not 1 <= day <= 31 or year < 1970 or hour > 23 or minute > 59 or second > 60:
        return None
    if month < 2:
        year -= 1
    era, year_of_era = divmod(year, 400)
    days = era * 146097 + year_of_era * 365 + year_of_era // 4 - year_of_era // 100
    days += (153 * ((month + 10) % 12) + 2) // 5 + day - 1 - 719468
    return days * 86400 + hour * 3600 + minute * 60 + second
