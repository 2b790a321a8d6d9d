// Frame → network input, and heads → detections: ssd_edge/preprocess.py and ssd_edge/decode.py on the GPU.
//
//   preprocess   a frame, uint8 of any size    → image (3, H, W)                                     preprocess.cuh
//   decode       loc (B,A,4), logits (B,A,C)   → boxes (B,A,4), scores (B,C-1,A): 0 if no candidate  decode.cuh
//   select       boxes, scores                 → the best K of each class, duplicates removed        select.cuh
//   merge        the best of all classes       → the best M of each image, their number, and how
//                                                many candidates K cut                               select.cuh
//
// One source for nvcc, NVRTC and, in the tests, a C++ compiler. Arguments are inputs, int32 scalars (a float as its
// bits), outputs: the order that TensorRT's ahead-of-time plugins need. launch.py has grids, blocks and buffers.
//
// A is the number of default boxes, B of images, C of classes with background; K = top_k, M = max_detections.
//
// Compile without contraction to fused multiply-add (-fmad=false): then every rounding is the same as in
// ssd_edge/arithmetic.py, boxes.py and decode.py, and the results are the same bits as on the CPU.
#include "decode.cuh"
#include "preprocess.cuh"
#include "select.cuh"

#ifdef CUDA_ON_CPU
EXPORT_KERNEL(ssd_preprocess_fp32)
EXPORT_KERNEL(ssd_preprocess_fp16)
EXPORT_KERNEL(ssd_preprocess_area_fp32)
EXPORT_KERNEL(ssd_preprocess_area_fp16)
EXPORT_KERNEL(ssd_decode_fp32)
EXPORT_KERNEL(ssd_decode_fp16)
EXPORT_KERNEL(ssd_select)
EXPORT_KERNEL(ssd_merge)
#endif
