/* SPDX-License-Identifier: MIT */
/* Fills the DMA region, resets the machine (which keeps its RAM), and wants the region zero again. A byte of CMOS
 * RAM, which a reset keeps too, tells the two starts apart. */
#include "guest.h"
#include "hvt.h"

#define CMOS_BYTE 0x50
#define STARTED 0xa5

int mirage_main(int argc, char **argv) {
    (void)argc;
    (void)argv;
    void *dma;
    uint64_t phys_addr;
    size_t dma_bytes;
    plat_dma(&dma, &phys_addr, &dma_bytes);
    for (size_t i = 0; i < dma_bytes / 8; i++) {
        CHECK(((volatile uint64_t *)dma)[i] == 0);
    }
    outb(0x70, CMOS_BYTE);
    if (inb(0x71) == STARTED) {
        say("SUCCESS\n");
        return 0;
    }
    outb(0x71, STARTED);
    memset(dma, 0x5a, dma_bytes);
    say("resetting\n");
    for (;;) {
        outb(0x64, 0xfe); /* the keyboard controller's reset line */
    }
}
