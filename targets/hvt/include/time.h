/* SPDX-License-Identifier: MIT */
/* Types only: the time is plat_wall_ns(). */
#ifndef HVT_TIME_H
#define HVT_TIME_H
#include <stddef.h>
typedef long time_t;
struct tm {
    int tm_sec, tm_min, tm_hour, tm_mday, tm_mon, tm_year, tm_wday, tm_yday, tm_isdst;
};
#endif
