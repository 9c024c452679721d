# SPDX-License-Identifier: MIT
# unix: a static Linux executable over the C library.

PLATFORM_SRC_C := unix/start.c unix/platform.c unix/console.c unix/wait.c
ifneq ($(filter net,$(FEATURES)),)
PLATFORM_SRC_C += unix/mod_tap.c
endif
ifneq ($(filter socket,$(FEATURES)),)
PLATFORM_SRC_C += unix/mod_sockets.c
endif
PLATFORM_SRC_S :=
PLATFORM_CFLAGS := -D_GNU_SOURCE
PLATFORM_LDFLAGS := -static -no-pie -Wl,--gc-sections -Wl,--build-id=none -Wl,-z,noexecstack -Wl,-z,relro -lm
PLATFORM_LINK_SCRIPT :=
PLATFORM_LIBM :=
