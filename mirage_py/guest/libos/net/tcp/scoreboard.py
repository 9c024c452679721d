# SPDX-License-Identifier: MIT
"""What is known of the octets in [snd_una, snd_nxt) (RFC 6675 sections 2 to 4, with RFC 8985's word on what is lost).

sacked          ranges that the peer reported to have (RFC 2018)
lost_below      what is below, and not sacked, is taken for lost
rack.resent     of that, what was sent again and is not known to be lost again
rtx_next        below it nothing is to be sent again
"""

MAX_SACKED = 128  # ranges remembered; a report beyond is ignored, which only costs a retransmission
MAX_RESENT = 128  # repetitions on their way at a time, those in a row counted once; more wait


def insert(ranges, left, right):
    """Adds [left, right) to a sorted list of disjoint ranges. Returns the first octet that is new in it, or None."""
    at = 0
    while at < len(ranges) and ranges[at][1] < left:
        at += 1
    until = at
    first = left
    while until < len(ranges) and ranges[until][0] <= right:
        if ranges[until][0] <= first:
            first = max(first, ranges[until][1])
        if ranges[until][0] < left:
            left = ranges[until][0]
        if ranges[until][1] > right:
            right = ranges[until][1]
        until += 1
    if first >= right or (until == at and len(ranges) >= MAX_SACKED):
        return None
    ranges[at:until] = [[left, right]]
    return first


def recount(conn):
    """Drops what has been acknowledged from the ranges, and adds up the others."""
    una = conn.snd_una
    sacked = conn.sacked
    while sacked and sacked[0][1] <= una:
        del sacked[0]
    if sacked and sacked[0][0] < una:
        sacked[0][0] = una
    octets = 0
    for left, right in sacked:
        octets += right - left
    conn.sacked_octets = octets


def unsacked(conn, start, end):
    """Octets of [start, end) that are not sacked."""
    if end <= start:
        return 0
    octets = end - start
    for left, right in conn.sacked:
        if right <= start:
            continue
        if left >= end:
            break
        octets -= min(right, end) - max(left, start)
    return octets


def pipe(conn):
    """The estimate of the octets in the network: what is not lost, and what was sent again."""
    octets = unsacked(conn, max(conn.lost_below, conn.snd_una), conn.snd_nxt) - conn.dup_octets
    if conn.rack is not None:
        for start, end, _ in conn.rack.resent:
            octets += end - start
    return max(octets, 0)


def next_hole(conn):
    """(start, end) of the next range to send again, or None."""
    limit = conn.lost_below
    start = max(conn.rtx_next, conn.snd_una)
    resent = () if conn.rack is None else conn.rack.resent
    if len(resent) >= MAX_RESENT:
        return None
    while start < limit:
        end = limit
        for left, right in conn.sacked:
            if left > start:
                end = min(end, left)
                break
            if right > start:
                start = right
        at = start
        for left, right, _ in resent:
            if left <= at < right:
                at = right
            elif at < left < end:
                end = left
        if at == start < end:
            return (start, end)
        start = at
    conn.rtx_next = max(conn.rtx_next, limit)
    return None
