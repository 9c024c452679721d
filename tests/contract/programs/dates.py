# SPDX-License-Identifier: MIT
"""time.gmtime and time.mktime, before 1970 and after 2106 too."""

import time

if hasattr(time, "tzset"):  # CPython's mktime means local time
    import os

    os.environ["TZ"] = "UTC"
    time.tzset()

DAY = 86400
for year in (1, 4, 100, 400, 1582, 1600, 1899, 1900, 1968, 1969, 1970, 1972, 1999, 2000, 2038, 2100, 2106, 2400, 9999):
    for month, day in ((1, 1), (2, 28), (3, 1), (7, 31), (12, 31)):
        moment = (year, month, day, 23, 59, 58, 0, 0, 0)
        seconds = int(time.mktime(moment))
        print(moment[:6], seconds, tuple(time.gmtime(seconds))[:8], tuple(time.gmtime(seconds + 2))[:8])
for seconds in (-1, 0, 1, -DAY, -DAY - 1, 2**31, 2**32, 2**40, -(2**40), -62135596800):
    print(seconds, tuple(time.gmtime(seconds))[:8])
# Members beyond their range carry over.
for moment in (
    (1970, 1, 1, 0, 0, -1),
    (1970, 13, 1, 0, 0, 0),
    (1970, 0, 1, 0, 0, 0),
    (1969, 12, 32, 25, 61, 61),
    (2000, 3, 0, 0, 0, 0),
    (2024, 2, 366, -25, 0, 0),
    (1960, -11, 1, 0, 0, 0),
):
    print(moment, int(time.mktime(moment + (0, 0, 0))))
for wrong in (2**62, -(2**62), 2**63, -(2**80)):
    try:
        print(time.gmtime(wrong))
    except (OverflowError, ValueError, OSError):
        print("no time")
