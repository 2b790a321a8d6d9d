// Decode: heads → boxes and scores of all default boxes, as ssd_edge/arithmetic.py and boxes.py compute them.
#pragma once
#include "common.cuh"

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
