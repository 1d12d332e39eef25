/* A CUDA device without a GPU: the calls of the CUDA runtime and driver that torch makes.
 *
 * Memory is mapped on the host and kept in the books; kernels are counted and do nothing. Preloaded,
 * so that these functions come before those of libcudart; also installed as libcuda.so.1. */
#define _GNU_SOURCE
#include <cuda.h>
#include <cuda_runtime_api.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "books.h"

#define MIB ((size_t)1 << 20)
#define PAGE (2 * MIB)

struct stub_books stub_books = {
    .total_bytes = 80 * 1024 * MIB,
    .context_bytes = 500 * MIB,
    .num_devices = 1,
    .compute_major = 8,
    .driver_cuda = 13000,
    .finds_device = 1,
};

/* What is handed out: pointers of cudaMalloc, and handles of cuMemCreate (whose `pointer` is 0). */
static struct { void *pointer; size_t num_bytes; } *taken;
static size_t num_taken, max_taken;

static size_t rounded_up(size_t num_bytes) { return (num_bytes + PAGE - 1) / PAGE * PAGE; }

/* --- other processes on the same GPU --- */

static int shared_file = -1;
static struct stub_sharer *sharers;

/* Map the file that $CUDA_STUB_SHARED names, where each process keeps what it holds. */
static struct stub_sharer *shared(void) {
    const char *path = getenv("CUDA_STUB_SHARED");
    size_t num_bytes = STUB_MAX_SHARERS * sizeof *sharers;
    if (sharers || !path) return sharers;
    shared_file = open(path, O_RDWR | O_CREAT, 0600);
    if (shared_file < 0 || ftruncate(shared_file, num_bytes)) return NULL;
    void *found = mmap(NULL, num_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, shared_file, 0);
    return sharers = found == MAP_FAILED ? NULL : found;
}

static void lock(void) { if (shared()) lockf(shared_file, F_LOCK, 0); }
static void unlock(void) { if (sharers) lockf(shared_file, F_ULOCK, 0); }

static int is_gone(int pid) { return kill(pid, 0) && errno == ESRCH; }

static size_t own_bytes(void) {
    return stub_books.has_context ? stub_books.context_bytes + stub_books.used_bytes : 0;
}

/* Write down what this process holds, for the others, in its row or the first free one; locked. */
static void write_own_row(void) {
    struct stub_sharer *rows = shared(), *own = NULL;
    for (int i = 0; rows && i < STUB_MAX_SHARERS; i++) {
        if (rows[i].pid == getpid()) own = &rows[i];
        else if (!own && (!rows[i].pid || is_gone(rows[i].pid))) own = &rows[i];
    }
    if (!own) return;
    own->held_bytes = own_bytes();
    own->pid = getpid();
}

static void publish(void) {
    lock();
    write_own_row();
    unlock();
}

/* Copy the rows of the other processes that hold something; return how many. Also for NVML's stub. */
int stub_sharers(struct stub_sharer *found) {
    int num = 0;
    struct stub_sharer *rows = shared();
    lock();
    write_own_row();
    for (int i = 0; rows && i < STUB_MAX_SHARERS; i++) {
        int other = rows[i].pid && rows[i].pid != getpid() && !is_gone(rows[i].pid);
        if (other && rows[i].held_bytes) found[num++] = rows[i];
    }
    unlock();
    return num;
}

static size_t held_bytes(void) {
    struct stub_sharer others[STUB_MAX_SHARERS];
    size_t num_bytes = stub_books.context_bytes + stub_books.used_bytes + stub_books.other_bytes;
    for (int i = stub_sharers(others) - 1; i >= 0; i--) num_bytes += others[i].held_bytes;
    return num_bytes;
}

static int has_room(size_t num_bytes) {
    return held_bytes() + num_bytes <= stub_books.total_bytes;
}

/* Write down what is handed out and return its number, from 1. */
static size_t take(void *pointer, size_t num_bytes) {
    if (num_taken == max_taken) {
        max_taken = max_taken ? 2 * max_taken : 1024;
        taken = realloc(taken, max_taken * sizeof *taken);
    }
    taken[num_taken].pointer = pointer;
    taken[num_taken].num_bytes = num_bytes;
    stub_books.has_context = 1;
    stub_books.used_bytes += num_bytes;
    publish();
    return ++num_taken;
}

static void give_back(size_t number) {
    stub_books.used_bytes -= taken[number - 1].num_bytes;
    taken[number - 1].num_bytes = 0;
    taken[number - 1].pointer = NULL;
    publish();
}

/* --- the runtime: the device --- */

cudaError_t cudaGetDeviceCount(int *count) {
    *count = 0;
    if (stub_books.driver_cuda < CUDART_VERSION / 1000 * 1000) return cudaErrorInsufficientDriver;
    *count = stub_books.num_devices;
    return stub_books.num_devices ? cudaSuccess : cudaErrorNoDevice;
}

CUresult cuDriverGetVersion(int *version) {
    *version = stub_books.driver_cuda;
    return CUDA_SUCCESS;
}

cudaError_t cudaGetDevice(int *device) { *device = 0; return cudaSuccess; }

cudaError_t cudaSetDevice(int device) {
    stub_books.has_context = 1;
    return device < stub_books.num_devices ? cudaSuccess : cudaErrorInvalidDevice;
}

cudaError_t cudaDriverGetVersion(int *version) {
    *version = stub_books.driver_cuda;
    return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *found, int device) {
    memset(found, 0, sizeof *found);
    snprintf(found->name, sizeof found->name, "Stub GPU");
    found->totalGlobalMem = stub_books.total_bytes;
    found->major = stub_books.compute_major;
    found->pciBusID = 1 + device;
    found->multiProcessorCount = 108;
    found->warpSize = 32;
    found->maxThreadsPerBlock = 1024;
    found->maxThreadsDim[0] = found->maxThreadsDim[1] = 1024;
    found->maxThreadsDim[2] = 64;
    found->maxGridSize[0] = 2147483647;
    found->maxGridSize[1] = found->maxGridSize[2] = 65535;
    found->sharedMemPerBlock = 48 << 10;
    found->sharedMemPerBlockOptin = 163 << 10;
    found->sharedMemPerMultiprocessor = 164 << 10;
    found->regsPerBlock = found->regsPerMultiprocessor = 65536;
    found->maxThreadsPerMultiProcessor = 2048;
    found->maxBlocksPerMultiProcessor = 32;
    found->l2CacheSize = 40 << 20;
    found->unifiedAddressing = 1;
    found->textureAlignment = 512;
    for (int i = 0; i < 16; i++) found->uuid.bytes[i] = (char)(16 * device + i + 1);
    return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attribute, int device) {
    struct cudaDeviceProp found;
    cudaGetDeviceProperties(&found, device);
    switch (attribute) {
    case cudaDevAttrComputeCapabilityMajor: *value = found.major; break;
    case cudaDevAttrComputeCapabilityMinor: *value = found.minor; break;
    case cudaDevAttrMultiProcessorCount: *value = found.multiProcessorCount; break;
    case cudaDevAttrWarpSize: *value = found.warpSize; break;
    case cudaDevAttrMaxThreadsPerBlock: *value = found.maxThreadsPerBlock; break;
    case cudaDevAttrMaxSharedMemoryPerBlock: *value = (int)found.sharedMemPerBlock; break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin: *value = (int)found.sharedMemPerBlockOptin; break;
    case cudaDevAttrMaxThreadsPerMultiProcessor: *value = found.maxThreadsPerMultiProcessor; break;
    case cudaDevAttrMaxGridDimX: *value = found.maxGridSize[0]; break;
    case cudaDevAttrMaxGridDimY: *value = found.maxGridSize[1]; break;
    default: *value = 1;
    }
    return cudaSuccess;
}

cudaError_t cudaDeviceGetPCIBusId(char *text, int length, int device) {
    snprintf(text, length, "0000:%02x:00.0", 1 + device);
    return cudaSuccess;
}

cudaError_t cudaDeviceCanAccessPeer(int *can, int from, int to) { *can = 0; return cudaSuccess; }

/* --- the runtime: memory --- */

cudaError_t cudaMalloc(void **pointer, size_t num_bytes) {
    num_bytes = rounded_up(num_bytes);
    if (!has_room(num_bytes)) return cudaErrorMemoryAllocation;
    *pointer = mmap(NULL, num_bytes, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (*pointer == MAP_FAILED) return cudaErrorMemoryAllocation;
    take(*pointer, num_bytes);
    return cudaSuccess;
}

cudaError_t cudaFree(void *pointer) {
    for (size_t number = 1; pointer && number <= num_taken; number++) {
        if (taken[number - 1].pointer == pointer) {
            munmap(pointer, taken[number - 1].num_bytes);
            give_back(number);
            break;
        }
    }
    return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total_bytes) {
    stub_books.has_context = 1;
    size_t held = held_bytes();
    *total_bytes = stub_books.total_bytes;
    *free_bytes = held < *total_bytes ? *total_bytes - held : 0;
    return cudaSuccess;
}

/* What comes back from the device is 0: no kernel has written anything. */
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t num_bytes, enum cudaMemcpyKind kind,
                            cudaStream_t stream) {
    if (kind == cudaMemcpyDeviceToHost) {
        stub_books.num_copies_out++;
        memset(to, 0, num_bytes);
    } else if (kind == cudaMemcpyHostToDevice) {
        stub_books.num_copies_in++;
    }
    return cudaSuccess;
}

cudaError_t cudaMemcpy(void *to, const void *from, size_t num_bytes, enum cudaMemcpyKind kind) {
    return cudaMemcpyAsync(to, from, num_bytes, kind, 0);
}

cudaError_t cudaHostAlloc(void **pointer, size_t num_bytes, unsigned flags) {
    *pointer = aligned_alloc(4096, (num_bytes + 4095) / 4096 * 4096);
    return *pointer ? cudaSuccess : cudaErrorMemoryAllocation;
}

cudaError_t cudaFreeHost(void *pointer) { free(pointer); return cudaSuccess; }

cudaError_t cudaPointerGetAttributes(struct cudaPointerAttributes *found, const void *pointer) {
    memset(found, 0, sizeof *found);
    found->type = cudaMemoryTypeUnregistered;
    return cudaSuccess;
}

cudaError_t cudaGetSymbolAddress(void **pointer, const void *symbol) {
    static char space[1 << 20];
    *pointer = space;
    return cudaSuccess;
}

/* --- the runtime: streams, events, kernels --- */

static void *next_handle(void) {
    static uintptr_t handle = 16;
    return (void *)(handle += 16);
}

cudaError_t cudaStreamCreate(cudaStream_t *s) { *s = next_handle(); return cudaSuccess; }
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned f) { return cudaStreamCreate(s); }
cudaError_t cudaStreamCreateWithPriority(cudaStream_t *s, unsigned f, int p) {
    return cudaStreamCreate(s);
}
cudaError_t cudaEventCreate(cudaEvent_t *e) { *e = next_handle(); return cudaSuccess; }
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *e, unsigned f) { return cudaEventCreate(e); }

cudaError_t cudaStreamSynchronize(cudaStream_t s) {
    stub_books.num_synchronisations++;
    return cudaSuccess;
}
cudaError_t cudaDeviceSynchronize(void) {
    stub_books.num_synchronisations++;
    return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t s, enum cudaStreamCaptureStatus *status) {
    *status = cudaStreamCaptureStatusNone;
    return cudaSuccess;
}
cudaError_t cudaStreamGetCaptureInfo(cudaStream_t s, enum cudaStreamCaptureStatus *status,
                                     unsigned long long *id, cudaGraph_t *graph,
                                     const cudaGraphNode_t **nodes, const cudaGraphEdgeData **edges,
                                     size_t *num) {
    return cudaStreamIsCapturing(s, status);
}
cudaError_t cudaDeviceGetStreamPriorityRange(int *least, int *greatest) {
    *least = 0;
    *greatest = -5;
    return cudaSuccess;
}

cudaError_t cudaLaunchKernel(const void *f, dim3 grid, dim3 block, void **arguments, size_t shared,
                             cudaStream_t s) {
    stub_books.num_launches++;
    return cudaSuccess;
}
cudaError_t __cudaLaunchKernel(cudaKernel_t f, dim3 grid, dim3 block, void **arguments,
                               size_t shared, cudaStream_t s) {
    return cudaLaunchKernel((const void *)f, grid, block, arguments, shared, s);
}
cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t *c, const void *f, void **arguments) {
    return cudaLaunchKernel(f, c->gridDim, c->blockDim, arguments, 0, c->stream);
}
cudaError_t __cudaGetKernel(cudaKernel_t *kernel, const void *f) {
    *kernel = (cudaKernel_t)f;
    return cudaSuccess;
}
cudaError_t cudaFuncGetAttributes(struct cudaFuncAttributes *found, const void *f) {
    memset(found, 0, sizeof *found);
    found->binaryVersion = found->ptxVersion = 10 * stub_books.compute_major;
    found->maxThreadsPerBlock = 1024;
    found->numRegs = 32;
    return cudaSuccess;
}
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *num, const void *f,
                                                                   int block, size_t shared,
                                                                   unsigned flags) {
    *num = 2;
    return cudaSuccess;
}

/* Calls that have nothing to do here. */
#define NOTHING_TO_DO(name, ...) cudaError_t name(__VA_ARGS__) { return cudaSuccess; }
NOTHING_TO_DO(cudaGetLastError, void)
NOTHING_TO_DO(cudaPeekAtLastError, void)
NOTHING_TO_DO(cudaMemset, void *p, int v, size_t n)
NOTHING_TO_DO(cudaMemsetAsync, void *p, int v, size_t n, cudaStream_t s)
NOTHING_TO_DO(cudaMemcpyPeerAsync, void *t, int a, const void *f, int b, size_t n, cudaStream_t s)
NOTHING_TO_DO(cudaMemcpyToSymbol, const void *t, const void *f, size_t n, size_t o,
              enum cudaMemcpyKind k)
NOTHING_TO_DO(cudaStreamQuery, cudaStream_t s)
NOTHING_TO_DO(cudaStreamDestroy, cudaStream_t s)
NOTHING_TO_DO(cudaStreamWaitEvent, cudaStream_t s, cudaEvent_t e, unsigned f)
NOTHING_TO_DO(cudaThreadExchangeStreamCaptureMode, enum cudaStreamCaptureMode *m)
NOTHING_TO_DO(cudaEventDestroy, cudaEvent_t e)
NOTHING_TO_DO(cudaEventRecord, cudaEvent_t e, cudaStream_t s)
NOTHING_TO_DO(cudaEventRecordWithFlags, cudaEvent_t e, cudaStream_t s, unsigned f)
NOTHING_TO_DO(cudaEventQuery, cudaEvent_t e)
NOTHING_TO_DO(cudaEventSynchronize, cudaEvent_t e)
NOTHING_TO_DO(cudaFuncSetAttribute, const void *f, enum cudaFuncAttribute a, int v)
NOTHING_TO_DO(cudaKernelSetAttributeForDevice, cudaKernel_t k, enum cudaFuncAttribute a, int v,
              int d)

/* --- the driver: memory of growing segments --- */

static CUresult reserve_addresses(CUdeviceptr *start, size_t num_bytes, size_t alignment,
                                  CUdeviceptr wanted, unsigned long long flags) {
    char *found = mmap(NULL, num_bytes + PAGE, PROT_NONE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (found == MAP_FAILED) return CUDA_ERROR_OUT_OF_MEMORY;
    *start = ((CUdeviceptr)found + PAGE - 1) / PAGE * PAGE;
    return CUDA_SUCCESS;
}

static CUresult create_page(CUmemGenericAllocationHandle *handle, size_t num_bytes,
                            const CUmemAllocationProp *kind, unsigned long long flags) {
    if (stub_books.refuses_mapping || !has_room(num_bytes)) return CUDA_ERROR_OUT_OF_MEMORY;
    *handle = take(NULL, num_bytes);
    return CUDA_SUCCESS;
}

static CUresult release_page(CUmemGenericAllocationHandle handle) {
    give_back(handle);
    return CUDA_SUCCESS;
}

static CUresult map_page(CUdeviceptr start, size_t num_bytes, size_t offset,
                         CUmemGenericAllocationHandle handle, unsigned long long flags) {
    mprotect((void *)start, num_bytes, PROT_READ | PROT_WRITE);
    return CUDA_SUCCESS;
}

static CUresult set_access(CUdeviceptr start, size_t num_bytes, const CUmemAccessDesc *who,
                           size_t num) {
    return stub_books.refuses_access ? CUDA_ERROR_UNKNOWN : CUDA_SUCCESS;
}

static CUresult granularity(size_t *num_bytes, const CUmemAllocationProp *kind, int option) {
    *num_bytes = PAGE;
    return CUDA_SUCCESS;
}

/* --- the driver: the rest --- */

CUresult cuCtxGetCurrent(CUcontext *context) {
    *context = (CUcontext)(uintptr_t)stub_books.has_context;
    return CUDA_SUCCESS;
}
CUresult cuCtxSetCurrent(CUcontext context) { return CUDA_SUCCESS; }
CUresult cuDeviceGet(CUdevice *device, int number) { *device = number; return CUDA_SUCCESS; }
CUresult cuDeviceGetAttribute(int *value, CUdevice_attribute attribute, CUdevice device) {
    *value = attribute != CU_DEVICE_ATTRIBUTE_HANDLE_TYPE_FABRIC_SUPPORTED;
    return CUDA_SUCCESS;
}
CUresult cuDevicePrimaryCtxGetState(CUdevice device, unsigned *flags, int *is_active) {
    *flags = 0;
    *is_active = stub_books.has_context;
    return CUDA_SUCCESS;
}
CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device) {
    *context = (CUcontext)1;
    return CUDA_SUCCESS;
}
CUresult cuGetErrorString(CUresult error, const char **text) {
    *text = error == CUDA_ERROR_OUT_OF_MEMORY ? "out of memory" : "unknown error";
    return CUDA_SUCCESS;
}
CUresult cuFuncGetAttribute(int *value, CUfunction_attribute attribute, CUfunction f) {
    *value = 0;
    return CUDA_SUCCESS;
}

static CUresult nothing(void) { return CUDA_SUCCESS; }

cudaError_t cudaGetDriverEntryPointByVersion(const char *name, void **found, unsigned version,
                                             unsigned long long flags,
                                             enum cudaDriverEntryPointQueryResult *status) {
    static const struct { const char *name; void *call; } known[] = {
        {"cuMemAddressReserve", reserve_addresses},
        {"cuMemCreate", create_page},
        {"cuMemRelease", release_page},
        {"cuMemMap", map_page},
        {"cuMemSetAccess", set_access},
        {"cuMemGetAllocationGranularity", granularity},
        {"cuCtxGetCurrent", cuCtxGetCurrent},
        {"cuDeviceGet", cuDeviceGet},
        {"cuDeviceGetAttribute", cuDeviceGetAttribute},
        {"cuGetErrorString", cuGetErrorString},
    };
    *found = nothing;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (!strcmp(name, known[i].name)) *found = known[i].call;
    }
    if (status) *status = cudaDriverEntryPointSuccess;
    return cudaSuccess;
}

/* Names that torch's libraries link to and that nothing here calls. Without declarations, as
 * `cuda.h` has them under other names. */
#define UNUSED(name) int name##_unused(void) __asm__(#name); int name##_unused(void) { return 0; }
UNUSED(cuFuncSetAttribute)
UNUSED(cuFuncSetCacheConfig)
UNUSED(cuLaunchCooperativeKernel)
UNUSED(cuLaunchKernel)
UNUSED(cuLinkAddData_v2)
UNUSED(cuLinkComplete)
UNUSED(cuLinkCreate_v2)
UNUSED(cuModuleGetFunction)
UNUSED(cuModuleLoad)
UNUSED(cuModuleLoadData)
UNUSED(cuModuleLoadDataEx)
UNUSED(cuModuleUnload)
UNUSED(cuOccupancyMaxActiveBlocksPerMultiprocessor)
UNUSED(cuPointerGetAttribute)
UNUSED(cuTensorMapEncodeTiled)
