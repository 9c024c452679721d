# SPDX-License-Identifier: MIT
"""TCP's counters: attributes of Tcp, because some are on the fast path, and their official names.

RFC 4022's first, then Linux's (nstat) where it has one.
"""

NAMES = (
    ("ActiveOpens", "active_opens"),
    ("PassiveOpens", "passive_opens"),
    ("AttemptFails", "attempt_fails"),
    ("EstabResets", "estab_resets"),
    ("InSegs", "in_segs"),
    ("OutSegs", "out_segs"),
    ("RetransSegs", "retrans_segs"),
    ("InErrs", "in_errs"),
    ("OutRsts", "out_rsts"),
    ("InCsumErrors", "csum_errors"),
    ("TCPHPHits", "in_fast"),
    ("TCPFastRecoveries", "fast_recoveries"),
    ("TCPTimeouts", "rto_timeouts"),
    ("TCPMTUPSuspicions", "mtu_suspicions"),
    ("TCPMTUPSuccess", "mtu_probe_successes"),
    ("TCPMTUPFail", "mtu_probe_failures"),
    ("TCPLossProbes", "loss_probes"),
    ("TCPLossProbeRecovery", "loss_probe_recoveries"),
    ("TCPLostRetransmit", "lost_retransmits"),
    ("TCPDSACKRecv", "dsacks"),
    ("TCPDSACKUndo", "dsack_undos"),
    ("TCPFullUndo", "full_undos"),
    ("TCPLossUndo", "loss_undos"),
    ("TCPAbortOnTimeout", "timeouts"),
    ("TCPAbortOnData", "aborts_on_data"),
    ("TCPAbortOnLinger", "aborts_on_linger"),
    ("TCPWinProbe", "window_probes"),
    ("TCPChallengeACK", "challenge_acks"),
    ("TCPACKSkippedChallenge", "challenges_skipped"),
    ("TCPInUnacceptable", "unacceptable"),
    ("TCPAckOutOfWindow", "ack_errors"),
    ("PAWSEstab", "paws_drops"),
    ("TCPTimestampMissing", "ts_missing"),
    ("TCPOFOQueue", "ofo_queued"),
    ("TCPOFODrop", "ofo_dropped"),
    ("ListenOverflows", "listen_overflows"),
    ("ListenDrops", "listen_drops"),
    ("SyncookiesSent", "cookies_sent"),
    ("SyncookiesRecv", "cookies_received"),
    ("SyncookiesFailed", "cookies_failed"),
    ("OutOfWindowIcmps", "icmp_errors"),
    ("TCPMemoryDrops", "memory_drops"),
)


def start(tcp):
    """Sets all to zero."""
    for _, attribute in NAMES:
        setattr(tcp, attribute, 0)


def read(tcp):
    """name -> value."""
    counters = {name: getattr(tcp, attribute) for name, attribute in NAMES}
    counters["InSegs"] += tcp.in_fast
    counters["CurrEstab"] = len(tcp.by_key)
    counters["TCPTimeWaitOverflow"] = tcp.time_waits.overflows
    counters["HalfOpen"] = len(tcp.half_open)
    counters["TimeWait"] = len(tcp.time_waits.by_key)
    return counters
