# SPDX-License-Identifier: MIT
#
# The hvt platform, for targets/Makefile and tests/guest/Makefile; both run in targets/. Paths are from there.

PLATFORM_SRC_C := $(addprefix hvt/,start.c memory.c paging.c console.c apic.c irq.c fault.c clock.c wall.c entropy.c acpi.c button.c power.c pci.c \
	libc/mem.c libc/string.c libc/stdlib.c)
# Completes MicroPython's libm.
PLATFORM_SRC_C += hvt/libc/math.c
ifneq ($(filter repl,$(FEATURES)),)
PLATFORM_SRC_C += hvt/com2.c
endif
PLATFORM_SRC_S := $(addprefix hvt/,entry.S vectors.S)

# No red zone, so that interrupts could use any stack (theirs is one of their own, for the compiler's library has a red zone). The
# compiler's own headers stay, the system's do not.
PLATFORM_CFLAGS := -ffreestanding -nostdinc -isystem $(abspath hvt/include) -isystem $(shell $(CC) -print-file-name=include) \
	-mno-red-zone -mcmodel=small -fno-pic -fno-pie -fcf-protection=none -fno-stack-protector -fno-asynchronous-unwind-tables
PLATFORM_LDFLAGS := -nostdlib -static -no-pie -Wl,--gc-sections -Wl,--build-id=none -Wl,-z,max-page-size=4096 \
	-Wl,-z,noexecstack -lgcc
PLATFORM_LINK_SCRIPT := hvt/link.ld
PLATFORM_LIBM := 1
