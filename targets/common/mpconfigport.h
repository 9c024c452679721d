/* SPDX-License-Identifier: MIT */
/*
 * mpconfigport.h: what of MicroPython 1.25 is in a runtime. The base is the "extra features" level; what a service does
 * not need is taken out, one line each. MIRAGE_TARGET_* and MIRAGE_FEATURE_* come from targets/Makefile.
 */
#ifndef MIRAGE_MPCONFIGPORT_H
#define MIRAGE_MPCONFIGPORT_H

#include <alloca.h>
#include <stddef.h>
#include <stdint.h>

#define MICROPY_CONFIG_ROM_LEVEL (MICROPY_CONFIG_ROM_LEVEL_EXTRA_FEATURES)

/* --- code: frozen bytecode and frozen x86-64 (native, viper); no files -------------------------------------------- */

#define MICROPY_MODULE_FROZEN_MPY (1)
#define MICROPY_QSTR_EXTRA_POOL mp_qstr_frozen_const_pool
#define MICROPY_EMIT_X64 (1)
#define MICROPY_PERSISTENT_CODE_LOAD (0)
#define MICROPY_READER_VFS (0)
#define MICROPY_VFS (0)
#define MICROPY_ENABLE_COMPILER (MIRAGE_FEATURE_COMPILER)
#define MICROPY_HELPER_REPL (MIRAGE_FEATURE_REPL)
#define MICROPY_REPL_EVENT_DRIVEN (MIRAGE_FEATURE_REPL)
/* Memory is never writable and executable: machine code is compiled ahead, by mpy-cross, and not by a REPL. */
void mirage_refuse_machine_code(void);
#define MP_PLAT_ALLOC_EXEC(min_size, ptr, size) mirage_refuse_machine_code()
#define MP_PLAT_FREE_EXEC(ptr, size) ((void)0)
#define MICROPY_PY_BUILTINS_INPUT (0) /* it would hold the event loop */
#define MICROPY_PY_BUILTINS_HELP (MIRAGE_FEATURE_REPL)
#define MICROPY_PY_BUILTINS_HELP_MODULES (MIRAGE_FEATURE_REPL)
#define MICROPY_PY_BUILTINS_EXECFILE (0)
#define MICROPY_PY_SYS_PS1_PS2 (MIRAGE_FEATURE_REPL)
#define MICROPY_OPT_COMPUTED_GOTO (1)
#define MICROPY_OPT_MAP_LOOKUP_CACHE_SIZE (32768)

/* --- memory ------------------------------------------------------------------------------------------------------- */

#define MICROPY_ENABLE_GC (1)
#define MICROPY_ALLOC_GC_STACK_SIZE (1024)
#define MICROPY_GC_STACK_ENTRY_TYPE uint64_t /* patch_micropython.py: a block, and where in it to go on */
#define MICROPY_GC_CONSERVATIVE_CLEAR (0) /* patch_micropython.py: small allocations are zeroed nevertheless */
#define MICROPY_ENABLE_FINALISER (0)
#define MICROPY_STACK_CHECK (1)
#define MICROPY_STACK_CHECK_MARGIN (8192)
#define MICROPY_ENABLE_EMERGENCY_EXCEPTION_BUF (1) /* a traceback when the heap is full */
#define MICROPY_EMERGENCY_EXCEPTION_BUF_SIZE (256)

/* --- the language ------------------------------------------------------------------------------------------------- */

#define MICROPY_LONGINT_IMPL (MICROPY_LONGINT_IMPL_MPZ)
#define MPZ_DIG_SIZE (32)
#define MICROPY_FLOAT_IMPL (MICROPY_FLOAT_IMPL_DOUBLE)
#define MICROPY_PY_BUILTINS_COMPLEX (0)
#define MICROPY_ERROR_REPORTING (MICROPY_ERROR_REPORTING_NORMAL)
#define MICROPY_ENABLE_SOURCE_LINE (1)
#define MICROPY_WARNINGS (0)
#define MICROPY_KBD_EXCEPTION (1)
#define MICROPY_ENABLE_SCHEDULER (0)
#define MICROPY_USE_INTERNAL_ERRNO (1) /* Linux's numbers, whatever the C library */
#define MICROPY_USE_INTERNAL_PRINTF (!MIRAGE_TARGET_UNIX)
#define MICROPY_STREAMS_NON_BLOCK (1)
#define MICROPY_PY_BUILTINS_MEMORYVIEW_ITEMSIZE (1)

/* --- modules ------------------------------------------------------------------------------------------------------ */

#define MICROPY_PY_ASYNCIO (1)
#define MICROPY_PY_SELECT (1) /* asyncio.core imports it */
#define MICROPY_PY_SELECT_SELECT (0)
#define MICROPY_PY_TIME_GMTIME_LOCALTIME_MKTIME (1)
#define MICROPY_PY_TIME_TIME_TIME_NS (1)
#define MICROPY_PY_TIME_INCLUDEFILE "mirage_time.h"
#define MICROPY_EPOCH_IS_1970 (1)
#define MICROPY_PY_OS_INCLUDEFILE "mirage_os.h"
#define MICROPY_PY_OS_URANDOM (1)
#define MICROPY_PY_OS_STATVFS (0)
#define MICROPY_PY_OS_SYNC (0)
#define MICROPY_PY_OS_DUPTERM (0)
uint32_t mirage_random_seed(void);
#define MICROPY_PY_RANDOM_SEED_INIT_FUNC (mirage_random_seed())
#define MICROPY_PY_HASHLIB_SHA1 (0)
#define MICROPY_PY_MATH_SPECIAL_FUNCTIONS (0)
#define MICROPY_PY_MATH_FACTORIAL (0)
#define MICROPY_PY_CMATH (0)
#define MICROPY_PY_UCTYPES (0)
#define MICROPY_PY_DEFLATE (1)
#define MICROPY_PY_DEFLATE_COMPRESS (0)
#define MICROPY_PY_BINASCII_CRC32 (0) /* it would bring deflate with it */
#define MICROPY_PY_FRAMEBUF (0)
#define MICROPY_PY_PLATFORM (0)
#define MICROPY_PY_MACHINE (0)
#define MICROPY_PY_MICROPYTHON_RINGIO (0)
#if MIRAGE_TARGET_UNIX
#define MICROPY_PY_SYS_PLATFORM "mirage-unix"
#else
#define MICROPY_PY_SYS_PLATFORM "mirage-hvt"
#endif
#define MICROPY_PY_SYS_STDIO_BUFFER (0)
#define MICROPY_PY_ERRNO_LIST \
    X(EPERM) \
    X(ENOENT) \
    X(EIO) \
    X(EBADF) \
    X(EAGAIN) \
    X(ENOMEM) \
    X(EACCES) \
    X(EBUSY) \
    X(EEXIST) \
    X(ENODEV) \
    X(EISDIR) \
    X(EINVAL) \
    X(ENOSPC) \
    X(EPIPE) \
    X(EMSGSIZE) \
    X(EOPNOTSUPP) \
    X(EADDRINUSE) \
    X(EADDRNOTAVAIL) \
    X(ENETDOWN) \
    X(ENETUNREACH) \
    X(ECONNABORTED) \
    X(ECONNRESET) \
    X(ENOBUFS) \
    X(EISCONN) \
    X(ENOTCONN) \
    X(ETIMEDOUT) \
    X(ECONNREFUSED) \
    X(EHOSTUNREACH) \
    X(EALREADY) \
    X(EINPROGRESS)

/* Numbers that py/mperrno.h lacks (Linux's). */
#define MP_EMSGSIZE (90)
#define MP_EADDRNOTAVAIL (99)
#define MP_ENETDOWN (100)
#define MP_ENETUNREACH (101)

/* --- the machine -------------------------------------------------------------------------------------------------- */

typedef intptr_t mp_int_t;
typedef uintptr_t mp_uint_t;
typedef int64_t mp_off_t;
#define MP_SSIZE_MAX INT64_MAX

/* Where something in MicroPython itself waits (select.poll, sys.stdin). */
#define MICROPY_INTERNAL_WFE(timeout_ms) mirage_idle(timeout_ms)

#define MICROPY_HW_BOARD_NAME "mirage-py"
#define MICROPY_HW_MCU_NAME "x86-64"
#define MP_STATE_PORT MP_STATE_VM

#endif
