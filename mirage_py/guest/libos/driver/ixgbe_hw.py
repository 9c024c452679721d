# SPDX-License-Identifier: MIT
"""The 82599's registers at work: reset, bring-up, link, addresses, filters, statistics.

The steps and their order are the datasheet's (revision 3.4); every method names its section. Nothing here touches a
descriptor: ixgbe_rx and ixgbe_tx do. Every wait has a timeout, and its error says what was waited for.
"""

from micropython import const

from libos.hal.buffers import now_ms, wait
from libos.hal.mmio import DeviceError, wait_clear, wait_set

from . import ixgbe_regs as r

_ALL_ONES = const(0xFFFFFFFF)
_RESET_MS = const(10)  # 4.6.3.2: software waits this long after a reset before it goes on
_RESET_TIMEOUT_US = const(100000)
_MASTER_TIMEOUT_US = const(100000)
_EEPROM_TIMEOUT_US = const(500000)
_WORD_TIMEOUT_US = const(50000)
_SEMAPHORE_TIMEOUT_MS = const(3000)  # 10.5.4: longer than firmware ever holds one
_QUEUE_TIMEOUT_US = const(10000)

# MSI-X vectors; with the pin, the bits of EICR that stand for them.
VECTOR_RX = const(0)
VECTOR_TX = const(1)
VECTOR_OTHER = const(2)
VECTORS = const(3)

# What the counters call a register, and where it stands. Read clears, so the driver adds up.
STATISTICS = (
    ("rx_missed_errors", r.MPC),
    ("rx_crc_errors", r.CRCERRS),
    ("rx_length_errors", r.RLEC),
    ("rx_undersize", r.RUC),
    ("rx_oversize", r.ROC),
    ("rx_fragments", r.RFC),
    ("rx_jabber", r.RJC),
    ("rx_illegal_bytes", r.ILLERRC),
    ("rx_no_dma_resources", r.QPRDC),
    ("rx_pkts_nic", r.GPRC),
    ("tx_pkts_nic", r.GPTC),
    ("broadcast", r.BPRC),
    ("multicast", r.MPRC),
)


def pause_ms(duration_ms):
    """Sleeps; an interrupt of another device may end a wait early, so it looks at the clock."""
    end_ms = now_ms() + duration_ms
    while now_ms() < end_ms:
        wait(end_ms * 1000000)


class IxgbeHw:
    """The register side of one port. regs: the BAR as 32-bit words; name: what errors call the device."""

    def __init__(self, regs, name):
        self.regs = regs
        self.name = name
        self.statistics = {}
        for counter, _ in STATISTICS:
            self.statistics[counter] = 0

    def __getitem__(self, offset):
        return self.regs[offset >> 2]

    def __setitem__(self, offset, value):
        self.regs[offset >> 2] = value

    def failure(self, text):
        return DeviceError("%s: %s" % (self.name, text))

    def what(self, text):
        """The name that a wait's error gives."""
        return "%s: %s" % (self.name, text)

    def is_gone(self):
        """All ones from a register that has bits which are always zero: nothing answers any more."""
        return self[r.STATUS] == _ALL_ONES

    # --- reset and initialisation ---

    def reset(self, timeout_us=_RESET_TIMEOUT_US):
        """4.6.3: interrupts off, DMA quiet, global reset, and the device's own initialisation awaited."""
        if self.is_gone():
            raise self.failure("all registers read all ones: the device is gone")
        self.disable_interrupts()
        self._disable_master()
        # 4.2.1.7: a software reset; with the link reset it leaves no part of the port out.
        self[r.CTRL] = self[r.CTRL] | r.CTRL_RST | r.CTRL_LRST
        wait_clear(self.regs, r.CTRL >> 2, r.CTRL_RST, timeout_us, self.what("global reset"))
        self[r.CTRL] = self[r.CTRL] & ~(r.CTRL_MASTER_DISABLE | r.CTRL_LRST)
        pause_ms(_RESET_MS)
        # 4.6.3.1: and off again, for the reset has switched nothing on but may have left a cause.
        self.disable_interrupts()
        wait_set(self.regs, r.EEC >> 2, r.EEC_ARD, _EEPROM_TIMEOUT_US, self.what("EEPROM auto-read"))
        wait_set(self.regs, r.RDRXCTL >> 2, r.RDRXCTL_DMAIDONE, _EEPROM_TIMEOUT_US, self.what("DMA initialisation"))
        self[r.CTRL_EXT] = self[r.CTRL_EXT] | r.CTRL_EXT_DRV_LOAD | r.CTRL_EXT_NS_DIS

    def _disable_master(self):
        """5.2.5.3.2: no new requests on the bus, and the end of those under way. A reset follows in any case."""
        self[r.CTRL] = self[r.CTRL] | r.CTRL_MASTER_DISABLE
        try:
            wait_clear(
                self.regs, r.STATUS >> 2, r.STATUS_MASTER_ENABLE, _MASTER_TIMEOUT_US, self.what("PCIe master disable")
            )
        except DeviceError:
            # The datasheet's way on: the reset itself, once more after it (5.2.5.3.2, note).
            self[r.CTRL] = self[r.CTRL] | r.CTRL_RST
            pause_ms(_RESET_MS)

    def init_link(self):
        """4.6.4: 10 Gbit/s over SFI as the EEPROM set it up, started anew. The link comes up by itself, later."""
        autoc = self[r.AUTOC] & ~r.AUTOC_LMS_MASK
        self[r.AUTOC] = autoc | r.AUTOC_LMS_10G_SERIAL | r.AUTOC_RESTART_AN

    def init_statistics(self):
        """4.6.5: what was counted before does not count."""
        for _, offset in STATISTICS:
            _ = self[offset]
        _ = self[r.RXDGPC]

    def init_receive(self, max_frame_bytes, queues):
        """4.6.7: filters, checksums, sizes; the rings follow, and enable_receive() after them."""
        # Off while it is set up (4.6.7, and RXCTRL's own rule).
        self[r.RXCTRL] = self[r.RXCTRL] & ~r.RXCTRL_RXEN
        self.set_multicast(())
        for index in range(128):
            self[r.VFTA + 4 * index] = 0
        # Exact addresses beyond the first are not valid after power-on only: say so.
        for index in range(1, r.RECEIVE_ADDRESSES):
            self[r.RAH + 8 * index] = 0
            self[r.RAL + 8 * index] = 0
        # Broadcast yes; not promiscuous. VLAN tags are neither filtered nor stripped.
        self[r.FCTRL] = self[r.FCTRL] & ~(r.FCTRL_UPE | r.FCTRL_MPE) | r.FCTRL_BAM
        self[r.VLNCTRL] = self[r.VLNCTRL] & ~r.VLNCTRL_VFE
        self[r.RXCSUM] = self[r.RXCSUM] | r.RXCSUM_PCSD
        # The check sequence is stripped; both registers have to say so (8.2.3.22.8).
        hlreg0 = self[r.HLREG0] | r.HLREG0_TXCRCEN | r.HLREG0_RXCRCSTRP | r.HLREG0_TXPADEN
        rdrxctl = self[r.RDRXCTL] & ~r.RDRXCTL_RSCFRSTSIZE_MASK
        # 4.6.7.2.2: these two must be set for receive side coalescing.
        self[r.RDRXCTL] = rdrxctl | r.RDRXCTL_CRCSTRIP | r.RDRXCTL_RSCACKC | r.RDRXCTL_FCOE_WRFIX
        if max_frame_bytes > 1518:
            hlreg0 |= r.HLREG0_JUMBOEN
            self[r.MAXFRS] = max_frame_bytes << r.MAXFRS_SHIFT
        else:
            hlreg0 &= ~r.HLREG0_JUMBOEN
        self[r.HLREG0] = hlreg0
        self[r.RFCTL] = self[r.RFCTL] & ~r.RFCTL_RSC_DIS
        self[r.RSCDBU] = self[r.RSCDBU] | r.RSCDBU_RSCACKDIS
        self[r.PSRTYPE] = r.PSRTYPE_TCPHDR
        if queues > 1:
            self._init_rss(queues)
        else:
            self[r.MRQC] = 0

    def _init_rss(self, queues):
        """4.6.10.1.1, 7.1.2.8: flows over the queues. The key is fixed: it has to spread, not to be secret."""
        for index in range(10):
            self[r.RSSRK + 4 * index] = 0x6D5A56DA + 0x01010101 * index & 0xFFFFFFFF
        for index in range(r.RETA_WORDS):
            word = 0
            for entry in range(4):
                word |= (4 * index + entry) % queues << 8 * entry
            self[r.RETA + 4 * index] = word
        self[r.MRQC] = r.MRQC_RSS | r.MRQC_TCP_IPV4 | r.MRQC_IPV4 | r.MRQC_IPV6 | r.MRQC_TCP_IPV6

    def start_receive_queue(self, queue, phys_addr, size, buffer_bytes, coalesce):
        """4.6.7.1: one ring; its buffers are given after this, by the tail.

        SRRCTL.Drop_En stays off: what finds no buffer waits in the device, the packets of other queues behind it. One
        processor empties all queues in turn, so that costs nothing, and a burst is not lost.
        """
        base = r.QUEUE_STRIDE * queue
        self[r.RDBAL + base] = phys_addr & 0xFFFFFFFF
        self[r.RDBAH + base] = phys_addr >> 32
        self[r.RDLEN + base] = 16 * size
        # 256 octets of header buffer: coalescing wants a size there, although nothing is split.
        self[r.SRRCTL + base] = buffer_bytes >> 10 | 4 << r.SRRCTL_BSIZEHEADER_SHIFT | r.SRRCTL_DESCTYPE_ADVANCED
        self[r.RSCCTL + base] = r.RSCCTL_RSCEN | r.RSCCTL_MAXDESC_16 if coalesce else 0
        self[r.RDH + base] = 0
        self[r.RDT + base] = 0
        self[r.RXDCTL + base] = self[r.RXDCTL + base] & ~r.RXDCTL_VME | r.RXDCTL_ENABLE
        wait_set(
            self.regs, r.RXDCTL + base >> 2, r.RXDCTL_ENABLE, _QUEUE_TIMEOUT_US, self.what("receive queue %d" % queue)
        )

    def enable_receive(self):
        """4.6.7, the last step."""
        self[r.RXCTRL] = self[r.RXCTRL] | r.RXCTRL_RXEN

    def init_transmit(self):
        """4.6.8: one packet buffer for all, no traffic classes."""
        self[r.RTTDCS] = self[r.RTTDCS] | r.RTTDCS_ARBDIS
        self[r.DTXMXSZRQ] = r.DTXMXSZRQ_MAX
        self[r.TXPBSIZE] = r.TXPBSIZE_ALL
        self[r.TXPBTHRESH] = r.TXPBTHRESH_ALL
        for index in range(1, 8):
            self[r.TXPBSIZE + 4 * index] = 0
            self[r.TXPBTHRESH + 4 * index] = 0
        self[r.MTQC] = 0
        self[r.RTTDCS] = self[r.RTTDCS] & ~r.RTTDCS_ARBDIS
        self[r.DMATXCTL] = self[r.DMATXCTL] | r.DMATXCTL_TE

    def start_transmit_queue(self, queue, phys_addr, size):
        """4.6.8.1."""
        base = r.QUEUE_STRIDE * queue
        self[r.TDBAL + base] = phys_addr & 0xFFFFFFFF
        self[r.TDBAH + base] = phys_addr >> 32
        self[r.TDLEN + base] = 16 * size
        self[r.TDH + base] = 0
        self[r.TDT + base] = 0
        # WTHRESH 0: a descriptor that asks for a report gets it at once (7.2.3.4.1).
        self[r.TXDCTL + base] = r.TXDCTL_ENABLE | r.TXDCTL_PTHRESH_32 | r.TXDCTL_HTHRESH_1
        wait_set(
            self.regs, r.TXDCTL + base >> 2, r.TXDCTL_ENABLE, _QUEUE_TIMEOUT_US, self.what("transmit queue %d" % queue)
        )

    # --- interrupts ---

    def disable_interrupts(self):
        """4.6.3.1."""
        self[r.EIMC] = 0x7FFFFFFF
        _ = self[r.EICR]  # reading clears what is there

    def init_interrupts(self, is_msix, queues, interval_us):
        """4.6.6, 7.3: reception, transmission and the rest on a vector each, which clears and masks itself.

        With the pin, a cause each; reading EICR clears and masks. The queues' are masked until someone waits for them.
        """
        entry = VECTOR_RX | r.IVAR_VALID | (VECTOR_TX | r.IVAR_VALID) << 8
        for index in range(queues + 1 >> 1):
            self[r.IVAR + 4 * index] = entry | entry << 16
        if is_msix:
            self[r.GPIE] = r.GPIE_MULTIPLE_MSIX | r.GPIE_PBA_SUPPORT | r.GPIE_OCD | r.GPIE_EIAME
            self[r.IVAR_MISC] = (VECTOR_OTHER | r.IVAR_VALID) << 8
            self[r.EIAC] = 1 << VECTOR_RX | 1 << VECTOR_TX | 1 << VECTOR_OTHER
        else:
            self[r.GPIE] = 0
            self[r.EIAC] = 0
        self[r.EIAM] = 1 << VECTOR_RX | 1 << VECTOR_TX
        for vector in range(VECTORS):
            interval = interval_us // r.EITR_UNIT_US << r.EITR_INTERVAL_SHIFT
            self[r.EITR + 4 * vector] = interval | r.EITR_CNT_WDIS
        self[r.EIMS] = 1 << VECTOR_OTHER | r.EICR_LSC | r.EICR_OTHER

    # --- semaphores and EEPROM ---

    def acquire(self, resource):
        """10.5.4: takes a resource that the firmware and the other port use too. DeviceError names it after 3 s."""
        end_ms = now_ms() + _SEMAPHORE_TIMEOUT_MS
        while True:
            if self._take_semaphore(end_ms):
                sync = self[r.SW_FW_SYNC]
                is_free = not sync & (resource | resource << r.FW_SHIFT)
                if is_free:
                    self[r.SW_FW_SYNC] = sync | resource
                self[r.SWSM] = self[r.SWSM] & ~(r.SWSM_SMBI | r.SWSM_SWESMBI)
                if is_free:
                    return
            if now_ms() >= end_ms:
                raise self.failure(
                    "semaphore for resource 0x%x: not free within %d ms" % (resource, _SEMAPHORE_TIMEOUT_MS)
                )
            pause_ms(5)

    def _take_semaphore(self, end_ms):
        """Both halves: SMBI against the other driver, SWESMBI against the firmware."""
        while self[r.SWSM] & r.SWSM_SMBI:
            if now_ms() >= end_ms:
                # Whoever held it died: the datasheet lets the waiting driver go on (10.5.4).
                break
            pause_ms(1)
        while True:
            self[r.SWSM] = self[r.SWSM] | r.SWSM_SWESMBI
            if self[r.SWSM] & r.SWSM_SWESMBI:
                return True
            if now_ms() >= end_ms:
                self[r.SWSM] = self[r.SWSM] & ~r.SWSM_SMBI
                return False
            pause_ms(1)

    def release(self, resource):
        """10.5.4: the register is the firmware's too, so its semaphore is taken for giving back as well.

        Without an answer it is given back all the same: who keeps it would stop everybody.
        """
        self._take_semaphore(now_ms() + _SEMAPHORE_TIMEOUT_MS)
        self[r.SW_FW_SYNC] = self[r.SW_FW_SYNC] & ~resource
        self[r.SWSM] = self[r.SWSM] & ~(r.SWSM_SMBI | r.SWSM_SWESMBI)

    def read_eeprom(self, word):
        """8.2.3.2.2: one 16-bit word."""
        self[r.EERD] = word << 2 | r.EERD_START
        value = wait_set(self.regs, r.EERD >> 2, r.EERD_DONE, _WORD_TIMEOUT_US, self.what("EEPROM word 0x%x" % word))
        return value >> 16 & 0xFFFF

    def read_mac(self):
        """The address that the device loaded from its EEPROM, or else the EEPROM's own (6.3.7.3)."""
        low = self[r.RAL]
        high = self[r.RAH]
        mac = (low | (high & 0xFFFF) << 32).to_bytes(6, "little")
        if not high & r.RAH_AV or not _is_station(mac):
            self.acquire(r.SW_EEP_SM)
            try:
                section = self.read_eeprom(0x09)
                mac = b""
                for index in range(3):
                    mac += self.read_eeprom(section + 1 + index).to_bytes(2, "little")
            finally:
                self.release(r.SW_EEP_SM)
            if not _is_station(mac):
                raise self.failure("has no usable MAC address")
        return mac

    def set_mac(self, mac):
        """8.2.3.7.9: receive address 0. The high word makes it valid, so it comes last."""
        self[r.RAH] = 0
        self[r.RAL] = int.from_bytes(mac[:4], "little")
        self[r.RAH] = int.from_bytes(mac[4:6], "little") | r.RAH_AV

    def set_multicast(self, addresses):
        """8.2.3.7.7: the hash table lets these groups in (and others with the same hash: the stack looks itself)."""
        table = [0] * r.MTA_WORDS
        for mac in addresses:
            # MCSTCTRL.MO 0: bits 47:36 of the address.
            bits = (mac[4] >> 4 | mac[5] << 4) & 0xFFF
            table[bits >> 5] |= 1 << (bits & 31)
        for index in range(r.MTA_WORDS):
            self[r.MTA + 4 * index] = table[index]
        self[r.MCSTCTRL] = r.MCSTCTRL_MFE if addresses else 0

    def set_promiscuous(self, on):
        """8.2.3.7.1: past the address filters, or through them."""
        fctrl = self[r.FCTRL] & ~(r.FCTRL_UPE | r.FCTRL_MPE)
        self[r.FCTRL] = fctrl | r.FCTRL_UPE | r.FCTRL_MPE if on else fctrl

    # --- link and statistics ---

    def link(self):
        """(is up, speed in Mbit/s), of now."""
        links = self[r.LINKS]
        if links == _ALL_ONES or not links & r.LINKS_UP:
            return (False, 0)
        return (True, 10000 if links & r.LINKS_SPEED_MASK == r.LINKS_SPEED_10G else 1000)

    def read_statistics(self):
        """Adds up what the device has counted since the last time. A device that is gone adds nothing."""
        statistics = self.statistics
        for counter, offset in STATISTICS:
            value = self[offset]
            if value == _ALL_ONES:
                return
            statistics[counter] += value

    def stop(self, queues):
        """Orderly: no more reception, the rings quiet, DMA ended, the firmware told (4.6.7.1.2, 4.6.8.2).

        queues: how many receive queues there are. Raises DeviceError when one does not stop.
        """
        self.disable_interrupts()
        self[r.RXCTRL] = self[r.RXCTRL] & ~r.RXCTRL_RXEN
        for queue in range(queues):
            rxdctl = r.RXDCTL + r.QUEUE_STRIDE * queue
            self[rxdctl] = self[rxdctl] & ~r.RXDCTL_ENABLE
        self[r.TXDCTL] = self[r.TXDCTL] & ~r.TXDCTL_ENABLE
        for queue in range(queues):
            rxdctl = r.RXDCTL + r.QUEUE_STRIDE * queue
            what = self.what("receive queue %d to stop" % queue)
            wait_clear(self.regs, rxdctl >> 2, r.RXDCTL_ENABLE, _QUEUE_TIMEOUT_US, what)
        wait_clear(self.regs, r.TXDCTL >> 2, r.TXDCTL_ENABLE, _QUEUE_TIMEOUT_US, self.what("transmit queue to stop"))
        self[r.DMATXCTL] = self[r.DMATXCTL] & ~r.DMATXCTL_TE
        self._disable_master()
        self[r.CTRL_EXT] = self[r.CTRL_EXT] & ~r.CTRL_EXT_DRV_LOAD


def _is_station(mac):
    return not mac[0] & 1 and mac != bytes(6)
