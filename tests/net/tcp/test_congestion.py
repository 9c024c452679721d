# SPDX-License-Identifier: MIT
"""Congestion control by itself: CUBIC (RFC 9438), NewReno (RFC 5681), HyStart++ (RFC 9406); throughput, recorded."""

import itertools
import os
from pathlib import Path

import pytest

from libos.net.tcp import cubic
from libos.net.tcp.congestion import UNLIMITED
from libos.net.tcp.cubic import Cubic
from libos.net.tcp.newreno import NewReno
from libos.net.tcp.rto import Rto
from tests.net.tcp import throughput

MSS = 1000
GOLDEN = Path(__file__).with_name("golden") / "throughput.txt"


def started(algorithm, rtt_ms=100, cwnd=None):
    """A control in congestion avoidance with a window of `cwnd` segments, or at the beginning."""
    rto = Rto()
    rto.sample(rtt_ms)
    control = algorithm().start(MSS, rto)
    if cwnd:
        control.cwnd = cwnd * MSS
    return control


def round_trip(control, now_ms):
    """All of a window is acknowledged, a segment at a time."""
    for _ in range(control.cwnd // MSS):
        control.on_ack(MSS, now_ms)


def after_loss(algorithm, segments, rtt_ms=100):
    control = started(algorithm, rtt_ms, segments)
    control.on_loss(segments * MSS, 0)
    control.on_recovered(segments * MSS, 0)
    return control


# --- the arithmetic ---


def test_cube_root_is_exact():
    for root in [*range(200), 9999, 123456, (1 << 20) - 1]:
        assert cubic.cube_root(root**3) == root
        assert cubic.cube_root(root**3 + 3 * root) == root
        if root:
            assert cubic.cube_root(root**3 - 1) == root - 1


@pytest.mark.parametrize("t_ms", [0, 1, 99, 1000, 12345, 999_999, -1000, -54321])
def test_cubic_is_the_function_of_the_rfc(t_ms):
    assert cubic.cubic(t_ms, 1460) == pytest.approx(0.4 * (t_ms / 1000) ** 3 * 1460, abs=2)


def test_nothing_exceeds_a_small_integer_of_micropython():
    limit = 1 << 62
    assert limit > cubic.FAR_MS**3
    assert limit > cubic.FAR_MS**3 // 1000000 * 4 * 65535
    for mss in (36, 536, 1460, 8960, 65495):
        assert UNLIMITED * 2500000 // mss * 1000 < limit
    assert limit > UNLIMITED // 2 * UNLIMITED
    assert cubic.cubic(1 << 40, 1460) == cubic.cubic(cubic.FAR_MS, 1460)


# --- CUBIC ---


def test_cubic_reduces_by_three_tenths_and_is_back_after_k():
    control = after_loss(Cubic, 1000)
    assert control.cwnd == control.ssthresh == 700 * MSS
    k_ms = round(1000 * (300 / 0.4) ** (1 / 3))  # section 4.2
    windows = []
    for now_ms in range(0, 2 * k_ms, 100):
        round_trip(control, now_ms)
        windows.append(control.cwnd)
    steps = [after - before for before, after in itertools.pairwise(windows)]
    plateau = k_ms // 100
    assert abs(windows[plateau] - 1000 * MSS) < 5 * MSS
    assert steps[0] > steps[plateau // 2] > steps[plateau - 1]  # concave
    assert steps[plateau + 3] < steps[-1]  # convex
    assert abs(windows[-1] - (1000 + 300) * MSS) < 40 * MSS


def test_cubic_grows_like_reno_where_reno_is_faster():
    """Section 4.3: with a short round trip a window grows by alpha segments in each."""
    control = after_loss(Cubic, 20, rtt_ms=2)
    for number in range(200):
        round_trip(control, 2 * number)
    # 14 up to 20 at 9/17 a round trip, from there at one.
    expected = 20 + 200 - 6 * 17 / 9
    assert abs(control.cwnd / MSS - expected) < expected / 10


def test_cubic_never_grows_by_more_than_half_a_window_in_a_round_trip():
    control = after_loss(Cubic, 10, rtt_ms=1000)
    round_trip(control, 0)
    before = control.cwnd
    round_trip(control, 500_000)
    assert control.cwnd <= before * 3 // 2 + MSS


def test_cubic_fast_convergence():
    control = after_loss(Cubic, 1000)
    assert control.w_max == 1000 * MSS
    control.on_loss(700 * MSS, 100)
    assert control.w_max == 700 * MSS * 17 // 20  # lower than where it lost: section 4.7
    control.cwnd = 2000 * MSS
    control.on_loss(2000 * MSS, 200)
    assert control.w_max == 2000 * MSS


def test_cubic_time_without_a_full_window_does_not_count():
    busy, idle = after_loss(Cubic, 1000), after_loss(Cubic, 1000)
    for now_ms in range(0, 3000, 100):
        round_trip(busy, now_ms)
        round_trip(idle, now_ms)
    round_trip(busy, 3000)
    round_trip(idle, 100_000)
    assert abs(busy.cwnd - idle.cwnd) < 5 * MSS


def test_cubic_after_a_timeout_begins_anew():
    control = after_loss(Cubic, 1000)
    control.on_timeout(700 * MSS, True, 1000)
    assert (control.cwnd, control.ssthresh) == (MSS, 490 * MSS)
    control.on_timeout(MSS, False, 3000)
    assert control.ssthresh == 490 * MSS
    while control.cwnd < control.ssthresh:
        control.on_recovery_ack(2 * MSS, 4000)
    control.on_ack(MSS, 5000)
    assert control.w_max == control._w_est == pytest.approx(490 * MSS, abs=2 * MSS)  # section 4.8: K is 0


def test_cubic_takes_a_mistake_back():
    control = after_loss(Cubic, 1000)
    round_trip(control, 0)
    state = dict(control.__dict__, undo=None)
    control.on_loss(control.cwnd, 50)
    control.on_spurious()
    counters = {"_est_counted", "_limited_ms", "_remainder", "target"}
    assert {name: value for name, value in control.__dict__.items() if name not in counters} == {
        name: value for name, value in state.items() if name not in counters
    }
    cwnd = control.cwnd
    control.on_spurious()
    assert control.cwnd == cwnd


# --- NewReno ---


def test_newreno_halves_and_adds_a_segment_for_a_window():
    control = after_loss(NewReno, 100)
    assert control.cwnd == control.ssthresh == 50 * MSS
    for number in range(10):
        round_trip(control, number)
    assert control.cwnd == 60 * MSS


# --- slow start ---


@pytest.mark.parametrize("algorithm", [Cubic, NewReno])
def test_slow_start_of_a_connection_whose_syn_was_lost(algorithm):
    assert algorithm().start(MSS, Rto(), True).cwnd == MSS
    assert algorithm().start(MSS, Rto(), False).cwnd == 10 * MSS


@pytest.mark.parametrize("algorithm", [Cubic, NewReno])
def test_hystart_leaves_slow_start_when_the_queue_grows(algorithm):
    control = started(algorithm)
    for rtt_ms in (40, 40, 41):
        control.on_rtt(rtt_ms)
        round_trip(control, 0)
    assert control.cwnd == 80 * MSS
    control.on_rtt(46)  # an eighth more
    for _ in range(5):
        before = control.cwnd
        round_trip(control, 0)
        assert control.cwnd == pytest.approx(before + before // 4, abs=MSS)
        control.on_rtt(47)
    assert control.ssthresh == control.cwnd


def test_hystart_goes_on_when_it_was_not_the_queue():
    control = started(NewReno)
    for rtt_ms in (40, 60, 41):
        control.on_rtt(rtt_ms)
    round_trip(control, 0)
    assert control.cwnd == 20 * MSS
    for _ in range(20):
        control.on_rtt(41)
    assert control.ssthresh == UNLIMITED


def test_hystart_is_for_the_first_slow_start():
    control = after_loss(NewReno, 100)
    control.cwnd = MSS
    for rtt_ms in (40, 80, 80, 80, 80, 80, 80):
        control.on_rtt(rtt_ms)
    round_trip(control, 0)
    assert control.cwnd == 2 * MSS


# --- throughput ---


@pytest.mark.slow
def test_throughput_against_loss_is_as_recorded():
    """A change shows here: MIRAGE_PY_UPDATE_GOLDEN=1 records it, and the difference goes into the commit."""
    lines = list(throughput.table(1))
    if os.environ.get("MIRAGE_PY_UPDATE_GOLDEN"):
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text("\n".join(lines) + "\n")
    assert GOLDEN.read_text().splitlines() == lines
