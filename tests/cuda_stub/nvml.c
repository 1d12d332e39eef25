/* libnvidia-ml.so.1 over the books of the device stub: what pynvml and torch ask of it. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <string.h>
#include <unistd.h>

#include "books.h"

#define SUCCESS 0
#define NOT_SUPPORTED 3
#define NOT_FOUND 6
#define INSUFFICIENT_SIZE 7
#define NOT_AVAILABLE 0xFFFFFFFFFFFFFFFFull
#define HOST_PID_OFFSET 1000000

typedef void *Device;
#define WHOLE_GPU ((Device)1)
#define SLICE ((Device)2)
struct memory { unsigned long long total, free, used; };
struct process { unsigned pid; unsigned long long used; unsigned gpu_instance, compute_instance; };
struct old_process { unsigned pid; unsigned long long used; };

static struct stub_books *books(void) {
    static struct stub_books *found;
    if (!found) found = dlsym(RTLD_DEFAULT, "stub_books");
    return found;
}

/* The other processes on the stub that share this GPU. */
static int sharers(struct stub_sharer *found) {
    static int (*ask)(struct stub_sharer *);
    if (!ask) ask = dlsym(RTLD_DEFAULT, "stub_sharers");
    return ask(found);
}

static unsigned long long own_bytes(void) {
    return books()->has_context ? books()->context_bytes + books()->used_bytes : 0;
}

int nvmlInit_v2(void) { return books()->nvml_status; }
int nvmlInitWithFlags(unsigned flags) { return nvmlInit_v2(); }
int nvmlShutdown(void) { return SUCCESS; }
const char *nvmlErrorString(int error) { return "error of the stub"; }

int nvmlSystemGetDriverVersion(char *text, unsigned length) {
    strncpy(text, "580.00.stub", length);
    return SUCCESS;
}

int nvmlSystemGetCudaDriverVersion_v2(int *version) {
    *version = books()->driver_cuda;
    return SUCCESS;
}

int nvmlDeviceGetCount_v2(unsigned *count) { *count = books()->num_devices; return SUCCESS; }

int nvmlDeviceGetHandleByPciBusId_v2(const char *id, Device *device) {
    *device = WHOLE_GPU;
    return books()->finds_device ? SUCCESS : NOT_FOUND;
}

int nvmlDeviceGetHandleByUUID(const char *uuid, Device *device) {
    *device = WHOLE_GPU;
    return books()->finds_device && !strncmp(uuid, "GPU-", 4) ? SUCCESS : NOT_FOUND;
}

int nvmlDeviceIsMigDeviceHandle(Device device, unsigned *is_slice) {
    *is_slice = device == SLICE;
    return SUCCESS;
}

int nvmlDeviceGetMigMode(Device device, unsigned *now, unsigned *pending) {
    *now = *pending = 1;
    return books()->slice_bytes ? SUCCESS : NOT_SUPPORTED;
}

int nvmlDeviceGetMaxMigDeviceCount(Device device, unsigned *count) { *count = 2; return SUCCESS; }

/* The first place is empty, as after a slice was taken away. */
int nvmlDeviceGetMigDeviceHandleByIndex(Device device, unsigned index, Device *slice) {
    *slice = SLICE;
    return index == 1 ? SUCCESS : NOT_FOUND;
}

int nvmlDeviceGetMemoryInfo(Device device, struct memory *found) {
    books()->num_memory_infos++;
    found->total = device == SLICE ? books()->slice_bytes : books()->total_bytes;
    found->used = own_bytes() + books()->other_bytes;
    struct stub_sharer others[STUB_MAX_SHARERS];
    for (int i = sharers(others) - 1; i >= 0; i--) found->used += others[i].held_bytes;
    found->free = found->total - found->used;
    return SUCCESS;
}

/* Fill in this process's row; return how many rows that is. */
static unsigned own_row(struct process *row) {
    memset(row, 0, sizeof *row);
    row->pid = getpid();
    row->used = own_bytes();
    if (!row->used || books()->own_row == HIDDEN) return 0;
    if (books()->own_row == HOST_PID) row->pid += HOST_PID_OFFSET;
    if (books()->own_row == OWN_PID_ZERO_BYTES) row->used = 0;
    if (books()->own_row == OWN_PID_BYTES_UNKNOWN) row->used = NOT_AVAILABLE;
    return 1;
}

int nvmlDeviceGetComputeRunningProcesses_v3(Device device, unsigned *num, struct process *rows) {
    struct process own;
    struct stub_sharer others[STUB_MAX_SHARERS];
    if (books()->lists_nothing) return NOT_SUPPORTED;
    unsigned room = rows ? *num : 0;
    unsigned has_own = books()->lists_under_mps ? 0 : own_row(&own);
    int num_sharers = books()->own_row == HIDDEN ? 0 : sharers(others); /* then it hides all */
    *num = books()->num_others + num_sharers + has_own;
    if (room < *num) return INSUFFICIENT_SIZE;
    books()->num_process_lists++;
    usleep(books()->list_latency_us);
    for (int i = 0; i < books()->num_others; i++) {
        memset(&rows[i], 0, sizeof rows[i]);
        rows[i].pid = books()->other_pids[i];
        rows[i].used = books()->other_rows[i];
    }
    for (int i = 0; i < num_sharers; i++) {
        struct process *row = &rows[books()->num_others + i];
        memset(row, 0, sizeof *row);
        row->pid = others[i].pid;
        row->used = others[i].held_bytes;
    }
    if (has_own) rows[*num - 1] = own;
    return SUCCESS;
}

/* The first version, which torch up to 2.13 asks: its rows end after the bytes. */
int nvmlDeviceGetComputeRunningProcesses(Device device, unsigned *num, struct old_process *rows) {
    struct process found[STUB_MAX_OTHERS + STUB_MAX_SHARERS + 1];
    unsigned room = rows ? *num : 0;
    *num = sizeof found / sizeof *found;
    int status = nvmlDeviceGetComputeRunningProcesses_v3(device, num, found);
    if (status == SUCCESS && room < *num) return INSUFFICIENT_SIZE;
    for (unsigned i = 0; status == SUCCESS && i < *num; i++) {
        rows[i].pid = found[i].pid;
        rows[i].used = found[i].used;
    }
    return status;
}

int nvmlDeviceGetMPSComputeRunningProcesses_v3(Device device, unsigned *num, struct process *rows) {
    struct process own;
    unsigned room = rows ? *num : 0;
    *num = books()->lists_under_mps ? own_row(&own) : 0;
    if (room < *num) return INSUFFICIENT_SIZE;
    if (*num) rows[0] = own;
    return SUCCESS;
}

int nvmlDeviceGetNvLinkRemoteDeviceType(void) { return NOT_SUPPORTED; }
int nvmlDeviceGetNvLinkRemotePciInfo_v2(void) { return NOT_SUPPORTED; }
int nvmlDeviceGetGpuFabricInfoV(void) { return SUCCESS; } /* left as it was: no fabric */
