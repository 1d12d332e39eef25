/* The books of one GPU: what it has, what its driver says, and what was asked of it.
 *
 * `books.py` has the same fields in the same order. The driver stub defines `stub_books`; the NVML
 * stub, a library of its own, finds it by name. */
#ifndef STUB_BOOKS_H
#define STUB_BOOKS_H

#include <stddef.h>

#define STUB_MAX_OTHERS 4

/* How NVML lists the process that asks. */
enum stub_own_row { OWN_PID, HOST_PID, HIDDEN, OWN_PID_ZERO_BYTES, OWN_PID_BYTES_UNKNOWN };

struct stub_books {
    /* the device */
    size_t total_bytes;
    size_t context_bytes;  /* of this process, once it has a context */
    size_t other_bytes;    /* held by other processes */
    size_t used_bytes;     /* handed out to this process */
    int has_context;
    int num_devices;
    int compute_major;
    int driver_cuda;       /* 13000 is CUDA 13.0 */
    int refuses_access;    /* cuMemSetAccess fails, as under WSL */
    int refuses_mapping;   /* cuMemCreate fails: out of memory */
    /* what NVML says */
    int nvml_status;       /* of nvmlInit: 0, or the error */
    int finds_device;
    int own_row;           /* enum stub_own_row */
    int num_others;
    unsigned other_pids[STUB_MAX_OTHERS];
    unsigned long long other_rows[STUB_MAX_OTHERS];
    int list_latency_us;
    int lists_nothing;     /* processes cannot be listed, as under WSL */
    int lists_under_mps;   /* this process is in the list of MPS alone */
    size_t slice_bytes;    /* of the MIG slice in use; 0: no slices */
    /* what was asked */
    long num_launches;
    long num_synchronisations;
    long num_copies_in;
    long num_copies_out;
    long num_process_lists;
    long num_memory_infos;
};

extern struct stub_books stub_books;

/* What another process on the stub holds of the same GPU; see `stub_sharers`. */
struct stub_sharer { int pid; size_t held_bytes; };
#define STUB_MAX_SHARERS 16

#endif
