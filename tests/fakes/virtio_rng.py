# SPDX-License-Identifier: MIT
"""A virtio-rng device model (virtio 1.2, section 5.4) for the fake machine, on the transport of the network card's."""

import random

from tests.fakes.virtio_net import VERSION_1, Queue, VirtioNetModel


class VirtioRngModel(VirtioNetModel):
    """answers: lengths of its answers, in turn, the last for ever; None: it never answers. seed: of its numbers."""

    def __init__(self, answers=(1 << 32,), seed=1, queue_size=8, device_id=0x1044, **options):
        super().__init__(features=VERSION_1, device_id=device_id, **options)
        self.queues = [Queue(0, queue_size), Queue(1, 0)]
        self.answers = list(answers)
        self.random = random.Random(seed)
        self.given = b""
        self.requests = 0
        self.head_offset = 0  # added to the head that it says it used
        self.says = None  # the length that it says, where that is not what it wrote

    def _doorbell(self, number):
        assert self.is_live, "doorbell before DRIVER_OK"
        assert number == 0
        queue = self.queues[0]
        while self._available(queue):
            self.requests += 1
            head, parts = self._next_chain(queue)
            assert all(is_writable for _, _, is_writable in parts)
            wanted = self.answers[0] if len(self.answers) == 1 else self.answers.pop(0)
            if wanted is None:
                return
            (phys_addr, length, _) = parts[0]
            data = self.random.randbytes(min(wanted, length))
            self.dma_write(phys_addr, data)
            self.given += data
            self.push_used(queue, head + self.head_offset, len(data) if self.says is None else self.says)
            self.publish(queue)
