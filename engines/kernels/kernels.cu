// Frame → network input, and heads → detections: ssd_edge/preprocess.py and ssd_edge/decode.py on the GPU.
//
//   preprocess   uint8 BGR frame of any size   → image (3, H, W)
//   decode       loc (B,A,4), logits (B,A,C)   → boxes (B,A,4), scores (B,C-1,A): 0 where there is no candidate
//   select       boxes, scores                 → the best K of each class, duplicates removed
//   merge        the best of all classes       → the best M of each image, their number, candidates cut by K
//
// One source for nvcc, NVRTC and, in the tests, a C++ compiler. Arguments are inputs, int32 scalars (a float as its
// bits), outputs: the order that TensorRT's ahead-of-time plugins need. launch.py has grids, blocks and buffers.
//
// A is the number of default boxes, B of images, C of classes with background; K = top_k, M = max_detections.
//
// Compile without contraction to fused multiply-add (-fmad=false): then every rounding is the same as in
// ssd_edge/arithmetic.py, boxes.py and decode.py, and the results are the same bits as on the CPU.
#ifdef CUDA_ON_CPU
#include "cuda_on_cpu.h"
#endif

#define THREADS 256   // threads of a block, in every kernel
#define BLOCKS 4      // blocks at once on a multiprocessor: sets the registers a thread may use, enough not to spill
#define TILE 32       // default boxes per block of decode
#define CAPACITY 1024 // largest K and M; a power of two

typedef unsigned long long u64;

// ---------------------------------------------------------------- FP16 in memory, FP32 in registers
// Written without NVIDIA's headers, which a device without the CUDA toolkit lacks.
struct Half {
  unsigned short bits;
};
#ifdef CUDA_ON_CPU
inline float load(const Half *from) {
  _Float16 value;
  memcpy(&value, from, sizeof value);
  return value;
}
inline void store(Half *to, float value) {
  _Float16 rounded = static_cast<_Float16>(value);
  memcpy(to, &rounded, sizeof rounded);
}
#else
__device__ inline float load(const Half *from) {
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(from->bits));
  return value;
}
__device__ inline void store(Half *to, float value) { asm("cvt.rn.f16.f32 %0, %1;" : "=h"(to->bits) : "f"(value)); }
#endif
__device__ inline float load(const float *from) { return *from; }
__device__ inline void store(float *to, float value) { *to = value; }

// ---------------------------------------------------------------- arithmetic.py
// Cephes, single/expf.c, with the same constants and the same order of operations as arithmetic.exp.
__device__ inline float portable_exp(float x) {
  if (x != x) return x;
  if (x < -87.33654f) return 0.0f; // would be subnormal
  x = fminf(x, 89.0f);             // gives infinity at the end
  float exponent = rintf(x * 1.44269504f);
  float rest = x - exponent * 0.693359375f;
  rest -= exponent * -2.12194440e-4f;
  float result = 1.9875691500e-4f;
  result = result * rest + 1.3981999507e-3f;
  result = result * rest + 8.3334519073e-3f;
  result = result * rest + 4.1665795894e-2f;
  result = result * rest + 1.6666665459e-1f;
  result = result * rest + 5.0000001201e-1f;
  result = result * (rest * rest) + rest + 1.0f;
  int power = static_cast<int>(exponent), half = power >> 1; // 2^128 has no float: multiplied in two halves
  return result * __int_as_float((half + 127) << 23) * __int_as_float((power - half + 127) << 23);
}

// Sum or maximum over the warp, returned in every lane: pairs 16, 8, 4, 2 and 1 apart, as in arithmetic.softmax.
__device__ inline float warp_sum(float value) {
  for (int apart = 16; apart; apart >>= 1) value += __shfl_xor_sync(0xffffffffu, value, apart);
  return value;
}
__device__ inline float warp_max(float value) {
  for (int apart = 16; apart; apart >>= 1) value = fmaxf(value, __shfl_xor_sync(0xffffffffu, value, apart));
  return value;
}

__device__ inline bool is_finite(float value) { return value - value == 0.0f; }

// An edge of a box within the image. NaN stays NaN, as in boxes.clip.
__device__ inline float within_image(float edge) {
  return edge != edge ? edge : edge > 0.0f ? (edge < 1.0f ? edge : 1.0f) : 0.0f;
}

// ---------------------------------------------------------------- preprocess
// Where an output pixel samples the frame: two neighbours, and the weight of the second in 256ths. Same steps and types
// as ssd_edge/resize.py, which is OpenCV's INTER_LINEAR_EXACT.
struct Taps {
  int low, high, weight;
};
__device__ inline Taps taps(int at, double scale, int size) {
  const double position = (at + 0.5) * scale - 0.5;
  const double low = floor(position);
  Taps result;
  result.low = min(max(static_cast<int>(low), 0), size - 1);
  result.high = min(result.low + 1, size - 1);
  result.weight = low < 0.0 || low >= size - 1 ? 0 : static_cast<int>(rint((position - low) * 256.0));
  return result;
}

// Grid: (columns of the image / THREADS, rows of the image). mean and deviation are in the image's channel order.
template <class Out>
__device__ inline void preprocess(const unsigned char *frame, int frame_rows, int frame_columns, int rows, int columns,
                                  int is_rgb, const float *mean, const float *deviation, Out *image, double *scale) {
  if (threadIdx.x == 0) { // one thread only: many GPUs divide doubles slowly
    scale[0] = 1.0 / (static_cast<double>(rows) / frame_rows);
    scale[1] = 1.0 / (static_cast<double>(columns) / frame_columns);
  }
  __syncthreads();
  int x = blockIdx.x * THREADS + threadIdx.x, y = blockIdx.y;
  if (x >= columns) return;
  const Taps v = taps(y, scale[0], frame_rows), h = taps(x, scale[1], frame_columns);
  const unsigned char *upper = frame + static_cast<size_t>(v.low) * frame_columns * 3;
  const unsigned char *lower = frame + static_cast<size_t>(v.high) * frame_columns * 3;
  for (int channel = 0; channel < 3; ++channel) {
    int from = is_rgb ? 2 - channel : channel; // frames are BGR
    int above = upper[h.low * 3 + from] * (256 - h.weight) + upper[h.high * 3 + from] * h.weight;
    int below = lower[h.low * 3 + from] * (256 - h.weight) + lower[h.high * 3 + from] * h.weight;
    int pixel = (above * (256 - v.weight) + below * v.weight + 32768) >> 16;
    float value = (static_cast<float>(pixel) - mean[channel]) / deviation[channel];
    store(image + (static_cast<size_t>(channel) * rows + y) * columns + x, value);
  }
}

// How much of a frame's pixel an output pixel covers along an axis, in parts of 1 / `size` of the frame's pixel.
__device__ inline int covered(int pixel, int at, int size, int frame_size) {
  const long long begin = max(static_cast<long long>(at) * frame_size, static_cast<long long>(pixel) * size);
  const long long end = min(static_cast<long long>(at + 1) * frame_size, static_cast<long long>(pixel + 1) * size);
  return static_cast<int>(end - begin);
}

// Same grid as preprocess; for frames larger than the image in both directions. See area in ssd_edge/resize.py.
template <class Out>
__device__ inline void preprocess_area(const unsigned char *frame, int frame_rows, int frame_columns, int rows,
                                       int columns, int is_rgb, const float *mean, const float *deviation, Out *image) {
  int x = blockIdx.x * THREADS + threadIdx.x, y = blockIdx.y;
  if (x >= columns) return;
  const int top = static_cast<int>(static_cast<long long>(y) * frame_rows / rows);
  const int bottom = static_cast<int>((static_cast<long long>(y + 1) * frame_rows + rows - 1) / rows);
  const int left = static_cast<int>(static_cast<long long>(x) * frame_columns / columns);
  const int right = static_cast<int>((static_cast<long long>(x + 1) * frame_columns + columns - 1) / columns);
  const u64 total = static_cast<u64>(frame_rows) * frame_columns;
  for (int channel = 0; channel < 3; ++channel) {
    const int from = is_rgb ? 2 - channel : channel; // frames are BGR
    u64 sum = total / 2;
    for (int row = top; row < bottom; ++row) {
      const unsigned char *line = frame + static_cast<size_t>(row) * frame_columns * 3 + from;
      unsigned of_row = 0; // at most 255 × the frame's columns
      for (int column = left; column < right; ++column)
        of_row += static_cast<unsigned>(line[column * 3]) * covered(column, x, columns, frame_columns);
      sum += static_cast<u64>(of_row) * covered(row, y, rows, frame_rows);
    }
    float value = (static_cast<float>(static_cast<int>(sum / total)) - mean[channel]) / deviation[channel];
    store(image + (static_cast<size_t>(channel) * rows + y) * columns + x, value);
  }
}

#define PREPROCESS(NAME, OUT)                                                                                          \
  extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)                                                        \
      NAME(const unsigned char *__restrict__ frame, int frame_rows, int frame_columns, int rows, int columns,          \
           int is_rgb, int mean0, int mean1, int mean2, int deviation0, int deviation1, int deviation2,                \
           OUT *__restrict__ image) {                                                                                  \
    const float mean[3] = {__int_as_float(mean0), __int_as_float(mean1), __int_as_float(mean2)};                       \
    const float deviation[3] = {__int_as_float(deviation0), __int_as_float(deviation1), __int_as_float(deviation2)};   \
    __shared__ double scale[2];                                                                                        \
    preprocess(frame, frame_rows, frame_columns, rows, columns, is_rgb, mean, deviation, image, scale);                \
  }
PREPROCESS(ssd_preprocess_fp32, float)
PREPROCESS(ssd_preprocess_fp16, Half)

#define PREPROCESS_AREA(NAME, OUT)                                                                                     \
  extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)                                                        \
      NAME(const unsigned char *__restrict__ frame, int frame_rows, int frame_columns, int rows, int columns,          \
           int is_rgb, int mean0, int mean1, int mean2, int deviation0, int deviation1, int deviation2,                \
           OUT *__restrict__ image) {                                                                                  \
    const float mean[3] = {__int_as_float(mean0), __int_as_float(mean1), __int_as_float(mean2)};                       \
    const float deviation[3] = {__int_as_float(deviation0), __int_as_float(deviation1), __int_as_float(deviation2)};   \
    preprocess_area(frame, frame_rows, frame_columns, rows, columns, is_rgb, mean, deviation, image);                  \
  }
PREPROCESS_AREA(ssd_preprocess_area_fp32, float)
PREPROCESS_AREA(ssd_preprocess_area_fp16, Half)

// ---------------------------------------------------------------- decode
// Decodes one default box to xyxy in fractions of the image (paper, equation 2, solved for the box), as boxes.decode.
// Returns whether its regression values are finite.
template <class In>
__device__ inline bool decode_box(const In *loc, const float4 &default_box, int is_yxhw, int is_clipped,
                                  float centre_variance, float size_variance, float4 *box) {
  const float x = load(loc + is_yxhw), y = load(loc + 1 - is_yxhw);
  const float w = load(loc + 2 + is_yxhw), h = load(loc + 3 - is_yxhw);
  const float centre_x = default_box.x + x * centre_variance * default_box.z;
  const float centre_y = default_box.y + y * centre_variance * default_box.w;
  const float half_width = 0.5f * (default_box.z * portable_exp(w * size_variance));
  const float half_height = 0.5f * (default_box.w * portable_exp(h * size_variance));
  float4 edges = make_float4(centre_x - half_width, centre_y - half_height, centre_x + half_width,
                             centre_y + half_height);
  if (is_clipped)
    edges = make_float4(within_image(edges.x), within_image(edges.y), within_image(edges.z), within_image(edges.w));
  *box = edges;
  return is_finite(x) && is_finite(y) && is_finite(w) && is_finite(h);
}

struct Tile {
  float scores[TILE][33]; // 33 and not 32, so that a column lies in 32 different banks
  float peak[TILE], total[TILE];
  int sound[TILE];
};

// Grid: (A / TILE, B). Each warp handles one box at a time and each lane a class, so that logits are read in order.
// Scores pass through a tile in shared memory, so that they are also written in order: class by class, box after box.
template <class In>
__device__ inline void decode(const In *loc, const In *logits, const float4 *defaults, int num_boxes, int num_classes,
                              int is_yxhw, int is_sigmoid, int is_clipped, float threshold, float centre_variance,
                              float size_variance, float4 *boxes, float *scores, Tile &tile) {
  const int t = threadIdx.x, lane = t % 32, warp = t / 32, warps = THREADS / 32;
  const int first = blockIdx.x * TILE, here = min(TILE, num_boxes - first), image = blockIdx.y;
  const size_t row = static_cast<size_t>(image) * num_boxes + first; // of loc, logits and boxes
  if (t < here)
    tile.sound[t] = decode_box(loc + (row + t) * 4, defaults[first + t], is_yxhw, is_clipped, centre_variance,
                               size_variance, boxes + row + t);
  if (!is_sigmoid)
    for (int i = warp; i < here; i += warps) {
      const In *of_box = logits + (row + i) * num_classes;
      float largest = __int_as_float(0xff800000); // minus infinity
      for (int c = lane; c < num_classes; c += 32) largest = fmaxf(largest, load(of_box + c));
      largest = warp_max(largest);
      float sum = 0.0f;
      for (int c = lane; c < num_classes; c += 32) sum += portable_exp(load(of_box + c) - largest);
      sum = warp_sum(sum); // NaN if any logit is NaN or +inf; then no class is a candidate
      if (lane == 0) {
        tile.peak[i] = largest;
        tile.total[i] = sum;
      }
    }
  __syncthreads();
  for (int c = 1; c < num_classes; c += 32) {
    for (int i = warp; i < here; i += warps) {
      float score = 0.0f;
      if (c + lane < num_classes && tile.sound[i]) {
        float logit = load(logits + (row + i) * num_classes + c + lane);
        score = is_sigmoid ? 1.0f / (1.0f + portable_exp(-logit)) : portable_exp(logit - tile.peak[i]) / tile.total[i];
      }
      tile.scores[i][lane] = score > threshold ? score : 0.0f; // false for NaN
    }
    __syncthreads();
    for (int j = warp; j < 32 && c + j < num_classes; j += warps)
      if (lane < here)
        scores[(static_cast<size_t>(image) * (num_classes - 1) + c - 1 + j) * num_boxes + first + lane] =
            tile.scores[lane][j];
    __syncthreads();
  }
}

#define DECODE(NAME, IN)                                                                                               \
  extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)                                                        \
      NAME(const IN *__restrict__ loc, const IN *__restrict__ logits, const float4 *__restrict__ defaults,             \
           int num_boxes, int num_classes, int is_yxhw, int is_sigmoid, int is_clipped, int threshold,                 \
           int centre_variance, int size_variance, float4 *__restrict__ boxes, float *__restrict__ scores) {           \
    __shared__ Tile tile;                                                                                              \
    decode(loc, logits, defaults, num_boxes, num_classes, is_yxhw, is_sigmoid, is_clipped, __int_as_float(threshold),  \
           __int_as_float(centre_variance), __int_as_float(size_variance), boxes, scores, tile);                       \
  }
DECODE(ssd_decode_fp32, float)
DECODE(ssd_decode_fp16, Half)

// ---------------------------------------------------------------- the best K of many, by a block
// Keys are unique and sort like the results: by score, then position. Bits of positive floats sort like the floats.
__device__ inline u64 key_of(float score, int position) {
  return score > 0.0f ? static_cast<u64>(__float_as_int(score)) << 32 | (0xffffffffu - static_cast<unsigned>(position))
                      : 0;
}
__device__ inline float score_of(u64 key) { return __int_as_float(static_cast<int>(key >> 32)); }
__device__ inline int position_of(u64 key) { return static_cast<int>(0xffffffffu - static_cast<unsigned>(key)); }

struct Best {
  u64 keys[CAPACITY];
  unsigned histogram[256];
  int number, digit, wanted;
};

// Finds the wanted-th largest key byte by byte, most significant first (radix select). Each pass counts the next byte
// of all keys that start with the known bytes, and walks the counts down from the largest value.
__device__ inline u64 nth_largest(const float *scores, int size, int wanted, Best &best) {
  const int t = threadIdx.x;
  u64 known = 0;
  if (t == 0) best.wanted = wanted;
  for (int shift = 56; shift >= 0; shift -= 8) {
    best.histogram[t] = 0; // THREADS bins
    __syncthreads();
    for (int i = t; i < size; i += THREADS) {
      u64 key = key_of(scores[i], i);
      if (key && (shift == 56 || key >> (shift + 8) == known))
        atomicAdd(&best.histogram[static_cast<int>(key >> shift) & 255], 1u);
    }
    __syncthreads();
    if (t < 32) { // each lane sums eight bins; the lanes after it hold the larger bytes
      unsigned mine = 0;
      for (int j = 0; j < 8; ++j) mine += best.histogram[t * 8 + j];
      unsigned from_here = mine;
      for (int apart = 1; apart < 32; apart <<= 1) {
        unsigned later = __shfl_down_sync(0xffffffffu, from_here, apart);
        if (t + apart < 32) from_here += later;
      }
      unsigned above = from_here - mine, still = best.wanted;
      __syncwarp();
      if (above < still && still <= from_here) // one lane only
        for (int j = 7;; --j) {
          unsigned in_bin = best.histogram[t * 8 + j];
          if (above + in_bin >= still) {
            best.digit = t * 8 + j;
            best.wanted = still - above;
            break;
          }
          above += in_bin;
        }
    }
    __syncthreads();
    known = known << 8 | static_cast<u64>(best.digit);
  }
  return known;
}

// Fills best.keys with the keys of the scores above 0, largest first. If there are more than CAPACITY, keeps only the
// `wanted` largest. Returns the number of scores above 0, the same in every thread of the block.
__device__ inline int keep_best(const float *scores, int size, int wanted, Best &best) {
  const int t = threadIdx.x;
  if (t == 0) best.number = 0;
  __syncthreads();
  for (int i = t; i < size; i += THREADS) {
    u64 key = key_of(scores[i], i);
    if (!key) continue;
    int place = atomicAdd(&best.number, 1); // any order will do: the keys are unique, and are sorted below
    if (place < CAPACITY) best.keys[place] = key;
  }
  __syncthreads();
  const int candidates = best.number;
  __syncthreads();
  if (candidates > CAPACITY) {
    u64 last = nth_largest(scores, size, wanted, best);
    if (t == 0) best.number = 0;
    __syncthreads();
    for (int i = t; i < size; i += THREADS) {
      u64 key = key_of(scores[i], i);
      if (key >= last) best.keys[atomicAdd(&best.number, 1)] = key; // exactly `wanted` keys
    }
    __syncthreads();
  }
  const int held = candidates > CAPACITY ? wanted : candidates;
  int length = 1;
  while (length < held) length <<= 1;
  for (int i = held + t; i < length; i += THREADS) best.keys[i] = 0;
  __syncthreads();
  for (int run = 2; run <= length; run <<= 1) // bitonic sort
    for (int apart = run >> 1; apart; apart >>= 1) {
      for (int i = t; i < length; i += THREADS) {
        int other = i ^ apart;
        if (other > i) {
          u64 a = best.keys[i], b = best.keys[other];
          if ((i & run) == 0 ? a < b : a > b) {
            best.keys[i] = b;
            best.keys[other] = a;
          }
        }
      }
      __syncthreads();
    }
  return candidates;
}

// ---------------------------------------------------------------- select
// Width or height. NaN stays NaN, so that a box that contains NaN overlaps nothing, as in boxes.areas.
__device__ inline float side(float low, float high) {
  float length = high - low;
  return length < 0.0f ? 0.0f : length;
}
__device__ inline float area(const float4 &box) { return side(box.x, box.z) * side(box.y, box.w); }

// Grid: (C − 1, B). Top-k of a class, then greedy NMS from its best box down.
extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
    ssd_select(const float4 *__restrict__ boxes, const float *__restrict__ scores, int num_boxes, int num_labels,
               int top_k, int iou_threshold, float4 *__restrict__ kept_boxes, float *__restrict__ kept_scores,
               int *__restrict__ cut) {
  __shared__ Best best;
  __shared__ float4 box[CAPACITY];
  __shared__ unsigned char dropped[CAPACITY];
  const int t = threadIdx.x, image = blockIdx.y;
  const size_t of_class = static_cast<size_t>(image) * num_labels + blockIdx.x;
  const float threshold = __int_as_float(iou_threshold);
  const int candidates = keep_best(scores + of_class * num_boxes, num_boxes, top_k, best);
  const int number = min(candidates, top_k);
  for (int i = t; i < number; i += THREADS) {
    box[i] = boxes[static_cast<size_t>(image) * num_boxes + position_of(best.keys[i])];
    dropped[i] = 0;
  }
  __syncthreads();
  for (int i = 0; i < number; ++i) {
    if (dropped[i]) continue; // decided before the last barrier, so all threads agree
    const float4 better = box[i];
    const float better_area = area(better);
    for (int j = i + 1 + t; j < number; j += THREADS) {
      const float4 worse = box[j];
      float shared_area = side(fmaxf(better.x, worse.x), fminf(better.z, worse.z)) *
                          side(fmaxf(better.y, worse.y), fminf(better.w, worse.w));
      if (shared_area > threshold * (better_area + area(worse) - shared_area)) dropped[j] = 1;
    }
    __syncthreads();
  }
  for (int i = t; i < top_k; i += THREADS) {
    const bool stays = i < number && !dropped[i];
    kept_scores[of_class * top_k + i] = stays ? score_of(best.keys[i]) : 0.0f;
    kept_boxes[of_class * top_k + i] = stays ? box[i] : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
  }
  if (t == 0) cut[of_class] = candidates - number;
}

// ---------------------------------------------------------------- merge
// Grid: (B). The input lists class after class, each by rank, so equal scores are ordered by class, then by box index.
extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
    ssd_merge(const float4 *__restrict__ kept_boxes, const float *__restrict__ kept_scores, const int *__restrict__ cut,
              int num_labels, int top_k, int max_detections, int *__restrict__ num_detections,
              float4 *__restrict__ boxes, float *__restrict__ scores, int *__restrict__ classes,
              int *__restrict__ num_cut) {
  __shared__ Best best;
  const int t = threadIdx.x, image = blockIdx.x, size = num_labels * top_k;
  const float *of_image = kept_scores + static_cast<size_t>(image) * size;
  const int number = min(keep_best(of_image, size, max_detections, best), max_detections);
  for (int i = t; i < max_detections; i += THREADS) {
    const size_t to = static_cast<size_t>(image) * max_detections + i;
    const bool is_one = i < number;
    const int position = is_one ? position_of(best.keys[i]) : 0;
    scores[to] = is_one ? score_of(best.keys[i]) : 0.0f;
    classes[to] = is_one ? position / top_k : -1;
    boxes[to] = is_one ? kept_boxes[static_cast<size_t>(image) * size + position] : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
  }
  if (t == 0) {
    best.number = 0;
    num_detections[image] = number;
  }
  __syncthreads();
  int mine = 0;
  const int *of_classes = cut + static_cast<size_t>(image) * num_labels;
  for (int label = t; label < num_labels; label += THREADS) mine += of_classes[label];
  if (mine) atomicAdd(&best.number, mine);
  __syncthreads();
  if (t == 0) num_cut[image] = best.number;
}

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
