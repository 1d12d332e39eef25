"""`BOOKS`: the stub device's books, to read and to change while torch runs on it.

Only in a process that was started for the stub. Has the fields of books.h, in their order.
"""

from __future__ import annotations

import ctypes

OWN_PID, HOST_PID, HIDDEN, OWN_PID_ZERO_BYTES, OWN_PID_BYTES_UNKNOWN = range(5)
"""How NVML lists the process that asks."""

_MAX_OTHERS = 4


class Books(ctypes.Structure):
    """See books.h."""

    _fields_ = [
        *(
            (name, ctypes.c_size_t)
            for name in ("total_bytes", "context_bytes", "other_bytes", "used_bytes")
        ),
        *(
            (name, ctypes.c_int)
            for name in (
                "has_context",
                "num_devices",
                "compute_major",
                "driver_cuda",
                "refuses_access",
                "refuses_mapping",
                "nvml_status",
                "finds_device",
                "own_row",
                "num_others",
            )
        ),
        ("other_pids", ctypes.c_uint * _MAX_OTHERS),
        ("other_rows", ctypes.c_ulonglong * _MAX_OTHERS),
        ("list_latency_us", ctypes.c_int),
        ("lists_nothing", ctypes.c_int),
        ("lists_under_mps", ctypes.c_int),
        ("slice_bytes", ctypes.c_size_t),
        *(
            (name, ctypes.c_long)
            for name in (
                "num_launches",
                "num_synchronisations",
                "num_copies_in",
                "num_copies_out",
                "num_process_lists",
                "num_memory_infos",
            )
        ),
    ]

    @property
    def process_bytes(self) -> int:
        """What this process holds."""
        return self.context_bytes + self.used_bytes if self.has_context else 0

    def set(self, **values: int) -> None:
        """Change fields by their names."""
        for name, value in values.items():
            assert hasattr(self, name), name
            setattr(self, name, value)

    def list_other(self, pid: int, num_bytes: int) -> None:
        """Have NVML list another process, whose bytes are in use on the device, too."""
        self.other_pids[self.num_others] = pid
        self.other_rows[self.num_others] = num_bytes
        self.num_others += 1
        self.other_bytes += num_bytes


BOOKS = Books.in_dll(ctypes.CDLL(None), "stub_books")
