# SPDX-License-Identifier: MIT
"""The registers of the 82599 by their datasheet names: offsets, bits, reset values, writable bits.

Source: Intel 82599 datasheet rev. 3.4, chapter 8. `REGISTERS` lists what the model knows; everything else in the BAR is
storage that is logged at its first use (docs/nic.md).
"""

from __future__ import annotations

from typing import NamedTuple

BAR_BYTES = 128 * 1024
QUEUES = 128
TRAFFIC_CLASSES = 8
RECEIVE_ADDRESSES = 128
MSIX_VECTORS = 64

# General.
CTRL = 0x00000
STATUS = 0x00008
CTRL_EXT = 0x00018
ESDP = 0x00020
I2CCTL = 0x00028
FRTIMER = 0x00048
TCPTIMER = 0x0004C
LEDCTL = 0x00200

# EEPROM and semaphores.
EEC = 0x10010
EERD = 0x10014
FLA = 0x1001C
SWSM = 0x10140
FWSM = 0x10148
FACTPS = 0x10150
SW_FW_SYNC = 0x10160

# PCIe.
GCR = 0x11000
GCR_EXT = 0x11050
CIAA = 0x11088
CIAD = 0x1108C

# Interrupts.
EICR = 0x00800
EICS = 0x00808
EIAC = 0x00810
EITR = 0x00820
EITR_HIGH = 0x12300
EIMS = 0x00880
EIMC = 0x00888
EIAM = 0x00890
GPIE = 0x00898
IVAR = 0x00900
IVAR_MISC = 0x00A00
EICS_EX = 0x00A90
EIMS_EX = 0x00AA0
EIMC_EX = 0x00AB0
EIAM_EX = 0x00AD0

# Receive.
RDBAL = 0x01000
RDBAH = 0x01004
RDLEN = 0x01008
DCA_RXCTRL = 0x0100C
RDH = 0x01010
SRRCTL = 0x01014
RDT = 0x01018
RXDCTL = 0x01028
RSCCTL = 0x0102C
QUEUE_STRIDE = 0x40
RX_HIGH = 0x0D000
SRRCTL_LOW = 0x02100
DCA_RXCTRL_LOW = 0x02200
RDRXCTL = 0x02F00
RXCTRL = 0x03000
RSCDBU = 0x03028
RXPBSIZE = 0x03C00
RXCSUM = 0x05000
RFCTL = 0x05008
FCTRL = 0x05080
VLNCTRL = 0x05088
MCSTCTRL = 0x05090
ETQF = 0x05128
MTA = 0x05200
RAL = 0x05400
RAH = 0x05404
PSRTYPE = 0x05480
MRQC = 0x05818
RETA = 0x05C00
RSSRK = 0x05C80
VFTA = 0x0A000
RAL_HIGH = 0x0A200
MPSAR = 0x0A600
PSRTYPE_HIGH = 0x0EA00
ETQS = 0x0EC00
SYNQF = 0x0EC30
SAQF = 0x0E000
DAQF = 0x0E200
SDPQF = 0x0E400
FTQF = 0x0E600
L34TIMIR = 0x0E800
VLVF = 0x0F100
VLVFB = 0x0F200
UTA = 0x0F400

# Flow director.
FDIRCTRL = 0x0EE00
FDIRSIPV6 = 0x0EE0C
FDIRIPSA = 0x0EE18
FDIRIPDA = 0x0EE1C
FDIRPORT = 0x0EE20
FDIRVLAN = 0x0EE24
FDIRHASH = 0x0EE28
FDIRCMD = 0x0EE2C
FDIRFREE = 0x0EE38
FDIRDIP4M = 0x0EE3C
FDIRSIP4M = 0x0EE40
FDIRTCPM = 0x0EE44
FDIRUDPM = 0x0EE48
FDIRUSTAT = 0x0EE50
FDIRFSTAT = 0x0EE54
FDIRMATCH = 0x0EE58
FDIRMISS = 0x0EE5C
FDIRHKEY = 0x0EE68
FDIRSKEY = 0x0EE6C
FDIRM = 0x0EE70
FDIRSCTPM = 0x0EE78

# IEEE 1588.
RXMTRL = 0x05120
TSYNCRXCTL = 0x05188
RXSATRL = 0x051A0
RXSTMPH = 0x051A4
RXSATRH = 0x051A8
RXSTMPL = 0x051E8
TSYNCTXCTL = 0x08C00
TXSTMPL = 0x08C04
TXSTMPH = 0x08C08
SYSTIML = 0x08C0C
SYSTIMH = 0x08C10
TIMINCA = 0x08C14
TIMADJL = 0x08C18
TIMADJH = 0x08C1C

# Transmit.
TDBAL = 0x06000
TDBAH = 0x06004
TDLEN = 0x06008
DCA_TXCTRL = 0x0600C
TDH = 0x06010
TDT = 0x06018
TXDCTL = 0x06028
TDWBAL = 0x06038
TDWBAH = 0x0603C
DMATXCTL = 0x04A80
DTXTCPFLGL = 0x04A88
DTXTCPFLGH = 0x04A8C
RTTDCS = 0x04900
RTTDQSEL = 0x04904
RTTDT1C = 0x04908
TXPBTHRESH = 0x04950
DTXMXSZRQ = 0x08100
MTQC = 0x08120
TXPBSIZE = 0x0CC00

# Security blocks: there are none, and the data paths that they would stop are ready.
SECTXCTRL = 0x08800
SECTXSTAT = 0x08804
SECTXMINIFG = 0x08810
SECRXCTRL = 0x08D00
SECRXSTAT = 0x08D04

# Flow control.
PFCTOP = 0x03008
FCTTV = 0x03200
FCRTL = 0x03220
FCRTH = 0x03260
FCRTV = 0x032A0
FCCFG = 0x03D00
TFCS = 0x0CE00

# MAC and link.
PCS1GLCTL = 0x04208
PCS1GLSTA = 0x0420C
PCS1GANA = 0x04218
HLREG0 = 0x04240
HLREG1 = 0x04244
MSCA = 0x0425C
MSRWD = 0x04260
MAXFRS = 0x04268
MFLCN = 0x04294
AUTOC = 0x042A0
LINKS = 0x042A4
AUTOC2 = 0x042A8
ANLP1 = 0x042B0
MMNGC = 0x042D0
LINKS2 = 0x04324
MACC = 0x04330
CORECTL = 0x14F00

# Wake up and management.
WUC = 0x05800
WUFC = 0x05808
WUS = 0x05810
MANC = 0x05820
HICR = 0x15F00

# Statistics (chapter 8.2.3.23): the model keeps them in stats.py.
CRCERRS = 0x04000
ILLERRC = 0x04004
ERRBC = 0x04008
MPC = 0x03FA0
MLFC = 0x04034
MRFC = 0x04038
RLEC = 0x04040
LXONTXC = 0x03F60
LXONRXCNT = 0x041A4
LXOFFTXC = 0x03F68
LXOFFRXCNT = 0x041A8
PRC64 = 0x0405C
GPRC = 0x04074
BPRC = 0x04078
MPRC = 0x0407C
GPTC = 0x04080
GORCL = 0x04088
GORCH = 0x0408C
GOTCL = 0x04090
GOTCH = 0x04094
RUC = 0x040A4
RFC = 0x040A8
ROC = 0x040AC
RJC = 0x040B0
TORL = 0x040C0
TORH = 0x040C4
TPR = 0x040D0
TPT = 0x040D4
PTC64 = 0x040D8
MPTC = 0x040F0
BPTC = 0x040F4
XEC = 0x04120
RQSMR = 0x02300
TQSM = 0x08600
RXDSTATCTRL = 0x02F40
RXDGPC = 0x02F50
RXDGBCL = 0x02F54
RXDGBCH = 0x02F58
QPRC = 0x01030
QPRDC = 0x01430
QBRC_L = 0x01034
QBRC_H = 0x01038
QPTC = 0x08680
QPTC_LOW = 0x06030
QBTC_L = 0x08700
QBTC_H = 0x08704
TXDGPC = 0x087A0
TXDGBCL = 0x087A4
TXDGBCH = 0x087A8
SSVPC = 0x08780

# Bits.
CTRL_MASTER_DISABLE = 1 << 2
CTRL_LRST = 1 << 3
CTRL_RST = 1 << 26
CTRL_EXT_DRV_LOAD = 1 << 28
STATUS_MASTER_ENABLE = 1 << 19
ESDP_SDP2 = 1 << 2
ESDP_SDP3 = 1 << 3
I2CCTL_CLK_IN = 1 << 0
I2CCTL_CLK_OUT = 1 << 1
I2CCTL_DATA_IN = 1 << 2
I2CCTL_DATA_OUT = 1 << 3
EEC_SK = 1 << 0
EEC_CS = 1 << 1
EEC_DI = 1 << 2
EEC_DO = 1 << 3
EEC_REQ = 1 << 6
EEC_GNT = 1 << 7
EEC_PRES = 1 << 8
EEC_ARD = 1 << 9
EEC_ADDR_SIZE = 1 << 10
EEC_SIZE_SHIFT = 11
EERD_START = 1 << 0
EERD_DONE = 1 << 1
SWSM_SMBI = 1 << 0
SWSM_SWESMBI = 1 << 1
FWSM_MODE_PASS_THROUGH = 2 << 1
FWSM_VALID = 1 << 15
EICR_QUEUES = 0xFFFF
EICR_LSC = 1 << 20
EICR_TCP_TIMER = 1 << 30
EICR_OTHER = 1 << 31
GPIE_MULTIPLE_MSIX = 1 << 4
GPIE_OCD = 1 << 5
GPIE_EIAME = 1 << 30
EITR_INTERVAL_MASK = 0xFF8
EITR_CNT_WDIS = 1 << 31
IVAR_VALID = 0x80
RXCTRL_RXEN = 1 << 0
RXDCTL_ENABLE = 1 << 25
RXDCTL_VME = 1 << 30
RSCCTL_RSCEN = 1 << 0
SRRCTL_DROP_EN = 1 << 28
RDRXCTL_CRCSTRIP = 1 << 1
RDRXCTL_DMAIDONE = 1 << 3
RDRXCTL_RSC_PUSH_DIS = 1 << 5
RXCSUM_PCSD = 1 << 13
RFCTL_RSC_DIS = 1 << 5
FCTRL_SBP = 1 << 1
FCTRL_MPE = 1 << 8
FCTRL_UPE = 1 << 9
FCTRL_BAM = 1 << 10
VLNCTRL_VFE = 1 << 30
MCSTCTRL_MFE = 1 << 2
RAH_AV = 1 << 31
PSRTYPE_TCPHDR = 1 << 4
MRQC_MODE_MASK = 0xF
TXDCTL_ENABLE = 1 << 25
TDWBAL_ENABLE = 1 << 0
DMATXCTL_TE = 1 << 0
HLREG0_TXPADEN = 1 << 10
HLREG0_RXCRCSTRP = 1 << 1
HLREG0_JUMBOEN = 1 << 2
HLREG0_LPBK = 1 << 15
MSCA_COMMAND = 1 << 30
AUTOC_FLU = 1 << 0
AUTOC_RESTART_AN = 1 << 12
AUTOC_LMS_SHIFT = 13
AUTOC_LMS_10G_SERIAL = 3 << AUTOC_LMS_SHIFT
AUTOC2_10G_SFI = 2 << 16
AUTOC2_LINK_DISABLE = 0x7000_0000
LINKS_KX_AN_COMP = 1 << 31
LINKS_UP = 1 << 30
LINKS_SPEED_10G = 3 << 28
LINKS_10G_ALIGN = 1 << 17
TCPTIMER_KICKSTART = 1 << 8
TCPTIMER_ENABLE = 1 << 9
TCPTIMER_FINISH = 1 << 10
TCPTIMER_LOOP = 1 << 11
FDIRCTRL_INIT_DONE = 1 << 3
FDIRCMD_CMD_MASK = 0x3
TSYNC_VALID = 1 << 0
TSYNC_ENABLE = 1 << 4
SEC_READY = 1 << 0
SEC_DISABLED = 1 << 1

_ALL = 0xFFFF_FFFF


class Spec(NamedTuple):
    """Registers of one name: `number` of them, `stride` octets apart, with the bits that software may change."""

    name: str
    offset: int
    number: int = 1
    stride: int = 4
    reset: int = 0
    writable: int = _ALL


def _receive_queue(name: str, offset: int, reset: int = 0, writable: int = _ALL) -> tuple[Spec, Spec]:
    """Queues 0-63 stand at 0x1000, 64-127 at 0xD000."""
    return (
        Spec(name, offset, 64, QUEUE_STRIDE, reset, writable),
        Spec(name, offset - RDBAL + RX_HIGH, 64, QUEUE_STRIDE, reset, writable),
    )


def _read_only(name: str, offset: int, reset: int = 0, count: int = 1, stride: int = 4) -> Spec:
    return Spec(name, offset, count, stride, reset, 0)


REGISTERS: tuple[Spec, ...] = (
    Spec("CTRL", CTRL, writable=CTRL_MASTER_DISABLE | CTRL_LRST),
    _read_only("STATUS", STATUS, STATUS_MASTER_ENABLE),
    Spec("CTRL_EXT", CTRL_EXT, writable=0x1703_4000),
    Spec("ESDP", ESDP, writable=0x0003_FFFF),
    Spec("I2CCTL", I2CCTL, reset=I2CCTL_CLK_OUT | I2CCTL_DATA_OUT, writable=I2CCTL_CLK_OUT | I2CCTL_DATA_OUT),
    _read_only("FRTIMER", FRTIMER),
    Spec("TCPTIMER", TCPTIMER, writable=0x0000_0AFF),
    Spec("LEDCTL", LEDCTL, reset=0x0004_0605, writable=0xCFCF_CFEF),
    Spec("EEC", EEC, reset=EEC_PRES | EEC_ARD, writable=EEC_SK | EEC_CS | EEC_DI | EEC_REQ | 0x30),
    Spec("EERD", EERD, writable=0x0000_FFFC),
    Spec("FLA", FLA),
    Spec("SWSM", SWSM, writable=SWSM_SMBI | SWSM_SWESMBI),
    _read_only("FWSM", FWSM, FWSM_VALID | FWSM_MODE_PASS_THROUGH),
    _read_only("FACTPS", FACTPS),
    Spec("SW_FW_SYNC", SW_FW_SYNC),
    Spec("GCR", GCR),
    Spec("GCR_EXT", GCR_EXT),
    Spec("CIAA", CIAA),
    Spec("CIAD", CIAD),
    Spec("EICR", EICR),
    Spec("EICS", EICS, writable=0),
    Spec("EIAC", EIAC, writable=EICR_QUEUES | EICR_TCP_TIMER | EICR_OTHER),
    Spec("EITR", EITR, 24, writable=0x8FF8),
    Spec("EITR", EITR_HIGH, 105, writable=0x8FF8),
    Spec("EIMS", EIMS),
    Spec("EIMC", EIMC, writable=0),
    Spec("EIAM", EIAM),
    Spec("GPIE", GPIE),
    Spec("IVAR", IVAR, 64, writable=0xBFBF_BFBF),
    Spec("IVAR_MISC", IVAR_MISC, writable=0xBFBF),
    Spec("EICS_EX", EICS_EX, 2, writable=0),
    Spec("EIMS_EX", EIMS_EX, 2),
    Spec("EIMC_EX", EIMC_EX, 2, writable=0),
    Spec("EIAM_EX", EIAM_EX, 2),
    *_receive_queue("RDBAL", RDBAL, writable=0xFFFF_FF80),
    *_receive_queue("RDBAH", RDBAH),
    *_receive_queue("RDLEN", RDLEN, writable=0x000F_FF80),
    *_receive_queue("DCA_RXCTRL", DCA_RXCTRL),
    *_receive_queue("RDH", RDH, writable=0),
    *_receive_queue("SRRCTL", SRRCTL, reset=0x0000_0402),
    *_receive_queue("RDT", RDT, writable=0xFFFF),
    *_receive_queue("RXDCTL", RXDCTL, writable=RXDCTL_ENABLE | RXDCTL_VME | 0x0400_0000),
    *_receive_queue("RSCCTL", RSCCTL, writable=0xD),
    Spec("RDRXCTL", RDRXCTL, reset=0x0800_8008, writable=0x0FFF_FFF7),
    Spec("RXCTRL", RXCTRL, writable=RXCTRL_RXEN | 2),
    Spec("RSCDBU", RSCDBU, reset=0x20),
    Spec("RXPBSIZE", RXPBSIZE, 8, writable=0x000F_FC00),
    Spec("RXCSUM", RXCSUM, writable=0x3000),
    Spec("RFCTL", RFCTL),
    Spec("FCTRL", FCTRL),
    Spec("VLNCTRL", VLNCTRL, reset=0x8100),
    Spec("MCSTCTRL", MCSTCTRL, writable=0x7),
    Spec("ETQF", ETQF, 8),
    Spec("MTA", MTA, 128),
    # The first sixteen entries stand at 0x5400 too; the model keeps them at 0xA200 alone.
    Spec("RAL", RAL_HIGH, 128, 8),
    Spec("RAH", RAL_HIGH + 4, 128, 8, writable=0x8000_FFFF),
    Spec("RAL", RAL, 16, 8),
    Spec("RAH", RAH, 16, 8, writable=0x8000_FFFF),
    Spec("PSRTYPE", PSRTYPE, 16),
    Spec("PSRTYPE", PSRTYPE_HIGH, 64),
    Spec("MRQC", MRQC),
    Spec("RETA", RETA, 32, writable=0x0F0F_0F0F),
    Spec("RSSRK", RSSRK, 10),
    Spec("VFTA", VFTA, 128),
    Spec("MPSAR", MPSAR, 256),
    Spec("ETQS", ETQS, 8),
    Spec("SYNQF", SYNQF),
    Spec("SAQF", SAQF, 128),
    Spec("DAQF", DAQF, 128),
    Spec("SDPQF", SDPQF, 128),
    Spec("FTQF", FTQF, 128),
    Spec("L34TIMIR", L34TIMIR, 128),
    Spec("VLVF", VLVF, 64),
    Spec("VLVFB", VLVFB, 128),
    Spec("UTA", UTA, 128),
    Spec("FDIRCTRL", FDIRCTRL),
    Spec("FDIRCMD", FDIRCMD),
    Spec("FDIRSIPV6", FDIRSIPV6, 3),
    Spec("FDIRIPSA", FDIRIPSA),
    Spec("FDIRIPDA", FDIRIPDA),
    Spec("FDIRPORT", FDIRPORT),
    Spec("FDIRVLAN", FDIRVLAN),
    Spec("FDIRHASH", FDIRHASH),
    _read_only("FDIRFREE", FDIRFREE),
    Spec("FDIRDIP4M", FDIRDIP4M),
    Spec("FDIRSIP4M", FDIRSIP4M),
    Spec("FDIRTCPM", FDIRTCPM),
    Spec("FDIRUDPM", FDIRUDPM),
    _read_only("FDIRLEN", 0x0EE4C),
    _read_only("FDIRUSTAT", FDIRUSTAT),
    _read_only("FDIRFSTAT", FDIRFSTAT),
    _read_only("FDIRMATCH", FDIRMATCH),
    _read_only("FDIRMISS", FDIRMISS),
    Spec("FDIRHKEY", FDIRHKEY, reset=0x8000_0001),
    Spec("FDIRSKEY", FDIRSKEY, reset=0x8080_0101),
    Spec("FDIRM", FDIRM, writable=0x3F),
    Spec("FDIRIP6M", 0x0EE74),
    Spec("FDIRSCTPM", FDIRSCTPM),
    Spec("RXMTRL", RXMTRL, reset=319 << 16),
    Spec("TSYNCRXCTL", TSYNCRXCTL, writable=0x1E),
    _read_only("RXSATRL", RXSATRL),
    _read_only("RXSATRH", RXSATRH),
    _read_only("RXSTMPL", RXSTMPL),
    _read_only("RXSTMPH", RXSTMPH),
    Spec("TSYNCTXCTL", TSYNCTXCTL, writable=TSYNC_ENABLE),
    _read_only("TXSTMPL", TXSTMPL),
    _read_only("TXSTMPH", TXSTMPH),
    Spec("SYSTIML", SYSTIML),
    Spec("SYSTIMH", SYSTIMH),
    Spec("TIMINCA", TIMINCA),
    Spec("TIMADJL", TIMADJL),
    Spec("TIMADJH", TIMADJH),
    Spec("TDBAL", TDBAL, QUEUES, QUEUE_STRIDE, writable=0xFFFF_FF80),
    Spec("TDBAH", TDBAH, QUEUES, QUEUE_STRIDE),
    Spec("TDLEN", TDLEN, QUEUES, QUEUE_STRIDE, writable=0x000F_FF80),
    Spec("DCA_TXCTRL", DCA_TXCTRL, QUEUES, QUEUE_STRIDE, reset=0xA200),
    Spec("TDH", TDH, QUEUES, QUEUE_STRIDE, writable=0xFFFF),
    Spec("TDT", TDT, QUEUES, QUEUE_STRIDE, writable=0xFFFF),
    Spec("TXDCTL", TXDCTL, QUEUES, QUEUE_STRIDE, writable=0x067F_7F7F),
    Spec("TDWBAL", TDWBAL, QUEUES, QUEUE_STRIDE, writable=0xFFFF_FFFD),
    Spec("TDWBAH", TDWBAH, QUEUES, QUEUE_STRIDE),
    Spec("DMATXCTL", DMATXCTL, reset=0x8100_0000),
    Spec("DTXTCPFLGL", DTXTCPFLGL, reset=0x0FF6_0FF6, writable=0x0FFF_0FFF),
    Spec("DTXTCPFLGH", DTXTCPFLGH, reset=0x0000_0F7F, writable=0x0000_0FFF),
    Spec("RTTDCS", RTTDCS),
    Spec("RTTDQSEL", RTTDQSEL, writable=0x7F),
    Spec("RTTDT1C", RTTDT1C),
    Spec("TXPBTHRESH", TXPBTHRESH, 8),
    Spec("DTXMXSZRQ", DTXMXSZRQ, reset=0x10),
    Spec("MTQC", MTQC),
    Spec("TXPBSIZE", TXPBSIZE, 8, writable=0x000F_FC00),
    Spec("SECTXCTRL", SECTXCTRL, reset=1, writable=7),
    _read_only("SECTXSTAT", SECTXSTAT, SEC_READY | SEC_DISABLED),
    Spec("SECTXMINIFG", SECTXMINIFG, reset=0x1000_0001),
    Spec("SECRXCTRL", SECRXCTRL, reset=1, writable=3),
    _read_only("SECRXSTAT", SECRXSTAT, SEC_READY | SEC_DISABLED),
    Spec("PFCTOP", PFCTOP, reset=0x0001_8808),
    Spec("FCTTV", FCTTV, 4),
    Spec("FCRTL", FCRTL, 8, writable=0x8007_FFF0),
    Spec("FCRTH", FCRTH, 8, writable=0x8007_FFF0),
    Spec("FCRTV", FCRTV),
    Spec("FCCFG", FCCFG, writable=0x18),
    _read_only("TFCS", TFCS),
    Spec("PCS1GLCTL", PCS1GLCTL),
    _read_only("PCS1GLSTA", PCS1GLSTA),
    Spec("PCS1GANA", PCS1GANA),
    Spec("HLREG0", HLREG0, reset=0x0001_2C03),
    Spec("HLREG1", HLREG1),
    Spec("MSCA", MSCA),
    Spec("MSRWD", MSRWD, reset=0xFFFF_0000),
    Spec("MAXFRS", MAXFRS, reset=0x05EE_0000, writable=0xFFFF_0000),
    Spec("MFLCN", MFLCN),
    Spec("AUTOC", AUTOC, reset=0xC09C_6004),
    _read_only("LINKS", LINKS),
    Spec("AUTOC2", AUTOC2, reset=AUTOC2_10G_SFI | 0xA),
    # A non-zero state of the auto-negotiation machine: a driver waits for it after a pipeline reset.
    _read_only("ANLP1", ANLP1, 0x0001_0000),
    Spec("MMNGC", MMNGC, writable=0),
    _read_only("LINKS2", LINKS2),
    Spec("MACC", MACC),
    Spec("CORECTL", CORECTL),
    Spec("WUC", WUC),
    Spec("WUFC", WUFC),
    Spec("WUS", WUS),
    Spec("MANC", MANC),
    _read_only("HICR", HICR),
    Spec("RQSMR", RQSMR, 32, writable=0x0F0F_0F0F),
    Spec("TQSM", TQSM, 32, writable=0x0F0F_0F0F),
    Spec("RXDSTATCTRL", RXDSTATCTRL),
)
