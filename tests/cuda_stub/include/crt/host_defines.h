/* Words of CUDA's compiler that its headers use; torch's packages leave out the file that defines
 * them. gcc needs none of them. */
#ifndef STUB_HOST_DEFINES_H
#define STUB_HOST_DEFINES_H

#define __align__(n) __attribute__((aligned(n)))
#define __builtin_align__(n) __attribute__((aligned(n)))
#define __host__
#define __device__
#define __device_builtin__
#define __device_builtin_texture_type__
#define __cudart_builtin__
#define CUDARTAPI
#define CUDARTAPI_CDECL

#endif
