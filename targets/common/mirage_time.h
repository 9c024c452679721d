/* SPDX-License-Identifier: MIT */
/*
 * mirage_time.h: included by extmod/modtime.c: wall time from the platform, and the proleptic Gregorian calendar in both
 * directions from 1970. MicroPython's own (shared/timeutils) counts in unsigned numbers.
 */

#define DAYS_400Y 146097
#define DAYS_TO_1970 719468 /* from the 1st of March of the year 0: a year that begins in March ends with the leap day */
#define DAY_SECONDS 86400
/* Far beyond what calendars mean, and far from where 64 bits end. */
#define SECONDS_MAX ((mp_int_t)1 << 55)
#define FIELD_MAX ((mp_int_t)1 << 38)

static mp_int_t floor_div(mp_int_t a, mp_int_t b) {
    return a / b - (a % b < 0);
}

/* struct_time's first eight members */
static mp_obj_t mirage_gmtime(mp_int_t seconds) {
    if (seconds > SECONDS_MAX || seconds < -SECONDS_MAX) {
        mp_raise_msg(&mp_type_OverflowError, MP_ERROR_TEXT("year is out of range"));
    }
    mp_int_t day = floor_div(seconds, DAY_SECONDS), second = seconds - day * DAY_SECONDS;
    mp_int_t days = day + DAYS_TO_1970;
    mp_int_t cycle = floor_div(days, DAYS_400Y);
    days -= cycle * DAYS_400Y;
    mp_int_t year = (days - days / 1460 + days / 36524 - days / 146096) / 365;
    days -= 365 * year + year / 4 - year / 100; /* of the year that began in March */
    mp_int_t month = (5 * days + 2) / 153;      /* 0: March */
    mp_int_t month_day = days - (153 * month + 2) / 5 + 1;
    year += 400 * cycle;
    bool is_next_year = month >= 10;
    mp_int_t this_year = year + is_next_year;
    bool is_leap = this_year % 4 == 0 && (this_year % 100 != 0 || this_year % 400 == 0);
    mp_obj_t items[8] = {
        MP_OBJ_NEW_SMALL_INT(this_year),
        MP_OBJ_NEW_SMALL_INT(is_next_year ? month - 9 : month + 3),
        MP_OBJ_NEW_SMALL_INT(month_day),
        MP_OBJ_NEW_SMALL_INT(second / 3600),
        MP_OBJ_NEW_SMALL_INT(second / 60 % 60),
        MP_OBJ_NEW_SMALL_INT(second % 60),
        MP_OBJ_NEW_SMALL_INT(day + 3 - floor_div(day + 3, 7) * 7), /* 1970 began on a Thursday */
        MP_OBJ_NEW_SMALL_INT(is_next_year ? days - 305 : days + 60 + is_leap),
    };
    return mp_obj_new_tuple(8, items);
}

/* Members out of their range carry over, as C has it. */
static mp_obj_t mirage_mktime(const mp_obj_t *members) {
    mp_int_t field[6];
    for (size_t i = 0; i < MP_ARRAY_SIZE(field); i++) {
        field[i] = mp_obj_get_int(members[i]);
        if (field[i] > FIELD_MAX || field[i] < -FIELD_MAX) {
            mp_raise_msg(&mp_type_OverflowError, MP_ERROR_TEXT("year is out of range"));
        }
    }
    mp_int_t month = field[1] - 3; /* 0: March */
    mp_int_t year = field[0] + floor_div(month, 12);
    month -= floor_div(month, 12) * 12;
    mp_int_t days = year * 365 + floor_div(year, 4) - floor_div(year, 100) + floor_div(year, 400) + (153 * month + 2) / 5
        + field[2] - 1 - DAYS_TO_1970;
    return mp_obj_new_int(((days * 24 + field[3]) * 60 + field[4]) * 60 + field[5]);
}

/* What gmtime() and localtime() are given: a float counts by the second that it is in. */
static mp_int_t mirage_seconds(mp_obj_t value) {
    #if MICROPY_PY_BUILTINS_FLOAT
    if (mp_obj_is_float(value)) {
        mp_float_t exact = mp_obj_get_float(value);
        if (!(exact >= -(mp_float_t)SECONDS_MAX && exact <= (mp_float_t)SECONDS_MAX)) { /* nor is it nan */
            mp_raise_msg(&mp_type_OverflowError, MP_ERROR_TEXT("year is out of range"));
        }
        mp_int_t seconds = (mp_int_t)exact;
        return seconds - (exact < (mp_float_t)seconds);
    }
    #endif
    return mp_obj_get_int(value);
}

static mp_obj_t mp_time_localtime_get(void) {
    return mirage_gmtime((mp_int_t)(mp_hal_time_ns() / 1000000000));
}

static mp_obj_t mp_time_time_get(void) {
    #if MICROPY_PY_BUILTINS_FLOAT
    return mp_obj_new_float((mp_float_t)mp_hal_time_ns() / (mp_float_t)1e9);
    #else
    return MP_OBJ_NEW_SMALL_INT((mp_int_t)(mp_hal_time_ns() / 1000000000));
    #endif
}
