/* SPDX-License-Identifier: MIT */
#undef assert
#ifdef NDEBUG
#define assert(condition) ((void)0)
#else
#define assert(condition) ((condition) ? (void)0 : hvt_assert_failed(#condition, __FILE__, __LINE__))
#endif
#ifndef HVT_ASSERT_H
#define HVT_ASSERT_H
__attribute__((noreturn)) void hvt_assert_failed(const char *condition, const char *file, int line);
#define static_assert _Static_assert
#endif
