// Select and merge: boxes and scores → detections, as ssd_edge/candidates.py and decode.py.
#pragma once
#include "common.cuh"

// ---------------------------------------------------------------- the best K of many, by a block
// Keys are unique and sort like the results: by score, then position. Bits of positive floats sort like the floats.
__device__ inline u64 key_of(float score, int position) {
  return static_cast<u64>(__float_as_int(score)) << 32 | (0xffffffffu - static_cast<unsigned>(position));
}
__device__ inline float score_of(u64 key) { return __int_as_float(static_cast<int>(key >> 32)); }
__device__ inline int position_of(u64 key) { return static_cast<int>(0xffffffffu - static_cast<unsigned>(key)); }

struct Best {
  u64 keys[CAPACITY];
  unsigned histogram[256];
  int number, digit, wanted;
  bool settled;
};

// Calls take(key) for each score above 0. Several scores are read before the first is looked at, since a block spends
// its time waiting for memory.
template <class Take>
__device__ inline void each_key(const float *scores, int size, Take take) {
  constexpr int AT_ONCE = 8;
  for (int begin = threadIdx.x; begin < size; begin += AT_ONCE * THREADS) {
    float read[AT_ONCE];
    for (int j = 0; j < AT_ONCE; ++j) read[j] = begin + j * THREADS < size ? scores[begin + j * THREADS] : 0.0f;
    for (int j = 0; j < AT_ONCE; ++j)
      if (read[j] > 0.0f) take(key_of(read[j], begin + j * THREADS));
  }
}

// Finds the least of the `wanted` largest keys byte by byte, most significant first (radix select), and returns a value
// that it and no smaller key reaches. Each pass counts the next byte of all keys that start with the known bytes, and
// walks the counts down from the largest value; it is the last one if all keys with that value are wanted.
__device__ inline u64 least_wanted(const float *scores, int size, int wanted, Best &best) {
  const int t = threadIdx.x;
  u64 known = 0;
  if (t == 0) best.wanted = wanted;
  for (int shift = 56;; shift -= 8) {
    best.histogram[t] = 0; // THREADS bins
    __syncthreads();
    each_key(scores, size, [&](u64 key) {
      if (shift == 56 || key >> (shift + 8) == known)
        atomicAdd(&best.histogram[static_cast<int>(key >> shift) & 255], 1u);
    });
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
            best.settled = above + in_bin == still; // always so at the last byte, since keys are unique
            break;
          }
          above += in_bin;
        }
    }
    __syncthreads();
    known = known << 8 | static_cast<u64>(best.digit);
    if (best.settled || shift == 0) return known << shift;
  }
}

// Fills best.keys with the keys of the scores above 0, in any order; if there are more than CAPACITY, with the `wanted`
// largest. Returns the number of scores above 0, the same in every thread of the block.
__device__ inline int gather(const float *scores, int size, int wanted, Best &best) {
  const int t = threadIdx.x;
  if (t == 0) best.number = 0;
  __syncthreads();
  each_key(scores, size, [&](u64 key) {
    int place = atomicAdd(&best.number, 1);
    if (place < CAPACITY) best.keys[place] = key;
  });
  __syncthreads();
  const int candidates = best.number;
  __syncthreads();
  if (candidates > CAPACITY) {
    const u64 least = least_wanted(scores, size, wanted, best);
    if (t == 0) best.number = 0;
    __syncthreads();
    each_key(scores, size, [&](u64 key) {
      if (key >= least) best.keys[atomicAdd(&best.number, 1)] = key; // exactly `wanted` keys
    });
    __syncthreads();
  }
  return candidates;
}

// Sorts the first `held` keys, largest first (bitonic sort). In a step each thread compares pairs of keys that are
// `apart`. Up to 32 apart, a warp's pairs lie in 64 keys that are its own, so only the warp has to wait.
__device__ inline void sort(int held, Best &best) {
  const int t = threadIdx.x;
  int length = 1;
  while (length < held) length <<= 1;
  for (int i = held + t; i < length; i += THREADS) best.keys[i] = 0;
  __syncthreads();
  for (int run = 2; run <= length; run <<= 1)
    for (int apart = run >> 1; apart; apart >>= 1) {
      for (int pair = t; pair < length / 2; pair += THREADS) {
        const int i = 2 * pair - (pair & (apart - 1)), other = i + apart;
        const u64 a = best.keys[i], b = best.keys[other];
        if ((i & run) == 0 ? a < b : a > b) {
          best.keys[i] = b;
          best.keys[other] = a;
        }
      }
      const int next = apart > 1 ? apart >> 1 : run; // how far apart the next step's keys are
      if (apart > 32 || next > 32) __syncthreads();
      else __syncwarp();
    }
  __syncthreads();
}

// ---------------------------------------------------------------- select
// Width or height. NaN stays NaN, so that a box that contains NaN overlaps nothing, as in boxes.areas.
__device__ inline float side(float low, float high) {
  float length = high - low;
  return length < 0.0f ? 0.0f : length;
}
__device__ inline float area(const float4 &box) { return side(box.x, box.z) * side(box.y, box.w); }
__device__ inline bool overlap(const float4 &better, const float4 &worse, float threshold) {
  const float shared_area = side(fmaxf(better.x, worse.x), fminf(better.z, worse.z)) *
                            side(fmaxf(better.y, worse.y), fminf(better.w, worse.w));
  return shared_area > threshold * (area(better) + area(worse) - shared_area);
}

#define GROUP 64 // boxes whose overlaps with each other are one mask each

struct Suppression {
  float4 box[CAPACITY];
  u64 overlaps[2][GROUP]; // two groups in turn, so that one barrier a group is enough
  unsigned alive[2][2];
};

// Greedy NMS of sorted boxes, group by group: masks tell which boxes of a group overlap which better ones of it, every
// thread walks the masks to find which boxes stay, and drops its own boxes of later groups that overlap one of these.
// Thread t has the boxes t, t + THREADS, …; returns a bit for each of them that is dropped.
__device__ inline unsigned suppress(int number, float threshold, Suppression &memory) {
  const int t = threadIdx.x, lane = t % 32, warp = t / 32;
  unsigned dropped = 0;
  for (int first = 0; first < number; first += GROUP) {
    u64 *overlaps = memory.overlaps[first / GROUP % 2];
    unsigned *alive = memory.alive[first / GROUP % 2];
    const int here = min(GROUP, number - first), turn = first / THREADS;
    for (int i = warp; i < here; i += WARPS) {
      u64 mask = 0;
      for (int half = 0; half < GROUP; half += 32) {
        const int j = half + lane;
        const bool is_hit = j > i && j < here && overlap(memory.box[first + i], memory.box[first + j], threshold);
        mask |= static_cast<u64>(__ballot_sync(0xffffffffu, is_hit)) << half;
      }
      if (lane == 0) overlaps[i] = mask;
    }
    const bool is_mine = t / GROUP == first % THREADS / GROUP; // whether this thread has a box of the group
    if (is_mine) {
      const unsigned bits = __ballot_sync(0xffffffffu, !(dropped >> turn & 1) && t % GROUP < here);
      if (lane == 0) alive[warp % 2] = bits;
    }
    __syncthreads();
    u64 kept = static_cast<u64>(alive[1]) << 32 | alive[0];
    for (u64 left = kept; left; left &= left - 1) {
      const u64 mask = overlaps[__ffsll(static_cast<long long>(left)) - 1]; // only worse ones
      left &= ~mask;
      kept &= ~mask;
    }
    if (is_mine && !(kept >> t % GROUP & 1)) dropped |= 1u << turn;
    for (int j = t, k = 0; j < number; j += THREADS, ++k)
      if (j >= first + GROUP && !(dropped >> k & 1))
        for (u64 left = kept; left; left &= left - 1) {
          const int i = first + __ffsll(static_cast<long long>(left)) - 1;
          if (overlap(memory.box[i], memory.box[j], threshold)) {
            dropped |= 1u << k;
            break;
          }
        }
  }
  return dropped;
}

// Grid: (C − 1, B). Top-k of a class, then greedy NMS from its best box down.
extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
    ssd_select(const float4 *__restrict__ boxes, const float *__restrict__ scores, int num_boxes, int num_labels,
               int top_k, int iou_threshold, float4 *__restrict__ kept_boxes, float *__restrict__ kept_scores,
               int *__restrict__ cut) {
  __shared__ Best best;
  __shared__ Suppression memory;
  const int t = threadIdx.x, image = blockIdx.y;
  const size_t of_class = static_cast<size_t>(image) * num_labels + blockIdx.x;
  const int candidates = gather(scores + of_class * num_boxes, num_boxes, top_k, best);
  const int number = min(candidates, top_k);
  sort(candidates > CAPACITY ? top_k : candidates, best);
  for (int i = t; i < number; i += THREADS)
    memory.box[i] = boxes[static_cast<size_t>(image) * num_boxes + position_of(best.keys[i])];
  __syncthreads();
  const unsigned dropped = suppress(number, __int_as_float(iou_threshold), memory);
  for (int i = t, k = 0; i < top_k; i += THREADS, ++k) {
    const bool stays = i < number && !(dropped >> k & 1);
    kept_scores[of_class * top_k + i] = stays ? score_of(best.keys[i]) : 0.0f;
    kept_boxes[of_class * top_k + i] = stays ? memory.box[i] : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
  }
  if (t == 0) cut[of_class] = candidates - number;
}

// ---------------------------------------------------------------- merge
// Grid: (MERGERS, B). The input lists class after class, each by rank, so equal scores are ordered by class, then by box
// index. Every block gathers the best; each takes its share of them, and finds the place of each by counting the better
// ones. So nothing is sorted, and no block waits for another.
extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
    ssd_merge(const float4 *__restrict__ kept_boxes, const float *__restrict__ kept_scores, const int *__restrict__ cut,
              int num_labels, int top_k, int max_detections, int *__restrict__ num_detections,
              float4 *__restrict__ boxes, float *__restrict__ scores, int *__restrict__ classes,
              int *__restrict__ num_cut) {
  __shared__ Best best;
  __shared__ u64 share[CAPACITY];
  __shared__ int shared_out;
  const int t = threadIdx.x, image = blockIdx.y, size = num_labels * top_k;
  const float4 *boxes_of_image = kept_boxes + static_cast<size_t>(image) * size;
  const size_t to = static_cast<size_t>(image) * max_detections;
  const int candidates = gather(kept_scores + static_cast<size_t>(image) * size, size, max_detections, best);
  const int held = candidates > CAPACITY ? max_detections : candidates, number = min(candidates, max_detections);
  if (t == 0) shared_out = best.number = 0;
  __syncthreads();
  for (int i = t; i < held; i += THREADS) // the order of keys differs from block to block, but not their positions
    if (position_of(best.keys[i]) % MERGERS == static_cast<int>(blockIdx.x))
      share[atomicAdd(&shared_out, 1)] = best.keys[i];
  __syncthreads();
  for (int i = t; i < shared_out; i += THREADS) {
    const u64 key = share[i];
    int better = 0;
    for (int j = 0; j < held; ++j) better += best.keys[j] > key;
    if (better >= max_detections) continue;
    const int position = position_of(key);
    scores[to + better] = score_of(key);
    classes[to + better] = position / top_k;
    boxes[to + better] = boxes_of_image[position];
  }
  for (int i = number + blockIdx.x * THREADS + t; i < max_detections; i += MERGERS * THREADS) {
    scores[to + i] = 0.0f;
    classes[to + i] = -1;
    boxes[to + i] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
  }
  if (blockIdx.x) return;
  int mine = 0;
  const int *of_classes = cut + static_cast<size_t>(image) * num_labels;
  for (int label = t; label < num_labels; label += THREADS) mine += of_classes[label];
  if (mine) atomicAdd(&best.number, mine);
  __syncthreads();
  if (t == 0) {
    num_detections[image] = number;
    num_cut[image] = best.number;
  }
}
