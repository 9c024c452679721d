/* SPDX-License-Identifier: MIT */
/*
 * port_abi.h: what the shared MicroPython port (targets/common) asks of a platform (targets/unix, targets/hvt).
 *
 * The one header both sides agree on. In the spirit of Solo5's API: console, clocks, wait, exit, entropy; plus PCI
 * configuration access, mapping of a BAR, and memory for DMA. A platform supplies every function of its section; the
 * common part supplies mirage_main(). No function blocks, except plat_wait().
 */
#ifndef MIRAGE_PORT_ABI_H
#define MIRAGE_PORT_ABI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MIRAGE_PORT_ABI_VERSION 1

/* Exit codes that the runtime itself uses; an application's own come through SystemExit. */
#define MIRAGE_EXIT_OK 0
#define MIRAGE_EXIT_UNCAUGHT 1   /* an uncaught Python exception */
#define MIRAGE_EXIT_BAD_ARGS 64  /* EX_USAGE: a boot argument that does not parse */
#define MIRAGE_EXIT_NO_MEMORY 69 /* the machine has too little memory to start */
#define MIRAGE_EXIT_FAULT 70     /* a CPU exception, a stack overflow, an abort */

#define MIRAGE_EXIT_INTERRUPTED 130 /* KeyboardInterrupt that nobody caught, as a shell reports SIGINT */
#define MIRAGE_EXIT_TERMINATED 143  /* the same for SIGTERM */

#define PLAT_NO_DEADLINE INT64_MAX

/* Called by the platform once memory, console and clocks work. argv excludes the program's name. Returns the exit code. */
int mirage_main(int argc, char **argv);

/*
 * Raises an exception in the running Python code: KeyboardInterrupt for MIRAGE_EXIT_INTERRUPTED; Terminated, a
 * SystemExit(143), for MIRAGE_EXIT_TERMINATED. An event loop that asked for it gets the first of the latter when it
 * waits, and not in the middle of anything. May be called from a signal handler; the platform then makes plat_wait()
 * return early.
 */
void mirage_interrupt(int exit_code);
/* A while after MIRAGE_EXIT_TERMINATED: when the loop has not come to wait by now, Terminated is raised where it is. */
void mirage_stop_overdue(void);
/* Whether the program has not waited for a quarter of a second or more. */
bool mirage_spins(void);

/*
 * hvt only. mirage_attention() may be called from an interrupt handler: plat_attend(), the platform's, is called outside of
 * it, when the interpreter next jumps or waits.
 */
void mirage_attention(void);
void plat_attend(void);

/* --- every platform ------------------------------------------------------------------------------------------ */

extern const char plat_name[]; /* "unix" or "hvt" */

void plat_console_write(const char *data, size_t len_bytes);
/* Takes what has been typed, without waiting; 0 when nothing, -1 at end of input. */
int plat_console_read(char *data, size_t len_bytes);

uint64_t plat_monotonic_ns(void); /* since some moment before start; never goes back */
uint64_t plat_wall_ns(void);      /* since 1970-01-01 UTC */

/*
 * Sleeps until plat_monotonic_ns() >= deadline_ns, or an event. Returns the set of sources that fired since the last
 * call: bit PLAT_SOURCE_CONSOLE for console input (for certain only after plat_console_read() found nothing), bit s for a
 * source s handed out by plat_irq_alloc() or plat_fd_watch(), bit PLAT_SOURCE_STOP when the machine is asked to end (a power
 * button), for mirage_interrupt(MIRAGE_EXIT_TERMINATED) to be called. An event that came before the call is never lost: the
 * call then returns at once. 0 means the deadline passed, or that mirage_interrupt() was called.
 */
#define PLAT_SOURCE_CONSOLE 0
#define PLAT_SOURCE_MAX 30
#define PLAT_SOURCE_STOP 31
uint32_t plat_wait(uint64_t deadline_ns);

bool plat_entropy(uint8_t *data, size_t len_bytes); /* false: the machine has no source of entropy */

__attribute__((noreturn)) void plat_exit(int code);

/* The collected heap, and the memory for frames and rings outside it (page-aligned, physically contiguous, zeroed). */
void plat_heap(void **base, size_t *len_bytes);
void plat_dma(void **base, uint64_t *phys_addr, size_t *len_bytes);
size_t plat_ram_bytes(void);

/* Bounds of the C stack, for the collector and for the stack-limit check. */
void plat_stack(void **top, size_t *len_bytes);

/* --- with a prompt: where it is typed and answered --------------------------------------------------------------- */

void plat_repl_write(const char *data, size_t len_bytes);
int plat_repl_read(char *data, size_t len_bytes); /* as plat_console_read() */

/* --- hvt only: PCI, devices, interrupts ---------------------------------------------------------------------- */

/* bdf: bus << 8 | device << 3 | function. size: 1, 2 or 4; offset is aligned to it. Through ECAM where there is one, else
 * 0xCF8. Absent devices read as all ones. */
uint32_t plat_pci_read(uint32_t bdf, uint32_t offset, uint32_t size);
void plat_pci_write(uint32_t bdf, uint32_t offset, uint32_t size, uint32_t value);
int plat_pci_last_bus(void); /* highest bus number that configuration access reaches, -1 when there is no PCI */

/* Address ranges where the guest may place BARs that the firmware left unassigned. Index 0: below 4 GiB, 1: above. */
bool plat_pci_window(int index, uint64_t *base, uint64_t *len_bytes);

/* Maps device memory uncached, not executable. NULL when the range is RAM, wraps, or the tables are full. */
void *plat_map_mmio(uint64_t phys_addr, size_t len_bytes);

/* An interrupt source: program `address` and `data` into an MSI or MSI-X entry. false: no vector left. */
bool plat_irq_alloc(int *source, uint64_t *address, uint32_t *data);
/* The source for a PCI function's INTx line (the Interrupt Line register's value). false: no interrupt controller for it. */
bool plat_irq_legacy(uint32_t line, int *source);
/* A level-triggered INTx line is masked when it fires; this unmasks it, after the driver quieted the device. */
void plat_irq_legacy_unmask(int source);

/* --- unix only: file descriptors ----------------------------------------------------------------------------- */

#define PLAT_FD_READ 1
#define PLAT_FD_WRITE 2
/* Makes fd a source of plat_wait(), level-triggered. -1: no source left. events 0 takes it out again. */
int plat_fd_watch(int fd, int events);

/* Sleeps, whatever the sources do; they stay as they are. Only mirage_interrupt() ends it early. */
void plat_sleep(uint64_t deadline_ns);

#endif
