// Preprocess: a frame of any size and pixel format → the network's input. Whole numbers up to the pixel, the same as
// in ssd_edge/pixels.py and resize.py; then (pixel − mean) / deviation in float32.
#pragma once
#include "common.cuh"

// In the order of FORMATS in ssd_edge/pixels.py.
enum Format { BGR, BGRX, GRAY8, YUYV, NV12, I420 };

struct Frame {
  const unsigned char *planes[3];
  int strides[3];
  int luma, red_v, green_u, green_v, blue_u, black; // coefficients, in 2^-20
};

struct Pixel {
  int blue, green, red;
};
struct Pair {
  Pixel left, right;
};

// ---------------------------------------------------------------- pixels from memory
// Reads `number` ≤ MOST ≤ 8 bytes, in the aligned words that hold them: one to three loads for six bytes of BGR at any
// address. So up to 3 bytes are read before and after them; a frame's memory consists of whole words.
template <int MOST>
__device__ inline u64 bytes_at(const unsigned char *from, int number) {
  const int before = static_cast<int>(reinterpret_cast<size_t>(from) & 3), end = before + number;
  const unsigned *words = reinterpret_cast<const unsigned *>(from - before); // still known to be global memory
  const unsigned first = words[0];
  const unsigned second = MOST > 1 && end > 4 ? words[1] : 0;
  const unsigned third = MOST > 5 && end > 8 ? words[2] : 0;
  const unsigned low = __funnelshift_r(first, second, 8 * before);
  return MOST > 4 ? static_cast<u64>(__funnelshift_r(second, third, 8 * before)) << 32 | low : low;
}
__device__ inline int byte_of(u64 bytes, int place) { return static_cast<int>(bytes >> 8 * place) & 255; }
__device__ inline const unsigned char *at(const Frame &frame, int plane, int row, int byte) {
  return frame.planes[plane] + static_cast<size_t>(row) * frame.strides[plane] + byte;
}

__device__ inline int level(int value) { return min(max(value >> 20, 0), 255); }
// As pixels.to_bgr_in_integers.
__device__ inline Pixel of_yuv(const Frame &frame, int y, int u, int v) {
  const int bright = max(y - frame.black, 0) * frame.luma + (1 << 19), blue = u - 128, red = v - 128;
  return {level(bright + frame.blue_u * blue), level(bright + frame.green_u * blue + frame.green_v * red),
          level(bright + frame.red_v * red)};
}

// A pixel and, if `both`, its right neighbour; without it `right` is arbitrary.
template <int FORMAT>
__device__ inline Pair pair_at(const Frame &frame, int row, int column, bool both) {
  if constexpr (FORMAT == BGR || FORMAT == BGRX) {
    constexpr int SIZE = FORMAT == BGR ? 3 : 4;
    const u64 bytes = bytes_at<2 * SIZE>(at(frame, 0, row, column * SIZE), both ? 2 * SIZE : SIZE);
    return {{byte_of(bytes, 0), byte_of(bytes, 1), byte_of(bytes, 2)},
            {byte_of(bytes, SIZE), byte_of(bytes, SIZE + 1), byte_of(bytes, SIZE + 2)}};
  } else if constexpr (FORMAT == GRAY8) {
    const u64 bytes = bytes_at<2>(at(frame, 0, row, column), both ? 2 : 1);
    const int left = byte_of(bytes, 0), right = byte_of(bytes, 1);
    return {{left, left, left}, {right, right, right}};
  } else {
    const int odd = column & 1, block = column >> 1; // two pixels share a colour difference
    const bool crosses = odd && both;                // the neighbour lies in the next block
    int left, right, u[2], v[2];
    if constexpr (FORMAT == YUYV) {
      const u64 bytes = bytes_at<8>(at(frame, 0, row, block * 4), crosses ? 8 : 4);
      left = byte_of(bytes, 2 * odd), right = byte_of(bytes, 2 * odd + 2);
      u[0] = byte_of(bytes, 1), v[0] = byte_of(bytes, 3);
      u[1] = byte_of(bytes, 1 + 4 * odd), v[1] = byte_of(bytes, 3 + 4 * odd);
    } else {
      const u64 bytes = bytes_at<2>(at(frame, 0, row, column), both ? 2 : 1);
      left = byte_of(bytes, 0), right = byte_of(bytes, 1);
      if constexpr (FORMAT == NV12) {
        const u64 colours = bytes_at<4>(at(frame, 1, row >> 1, block * 2), crosses ? 4 : 2);
        u[0] = byte_of(colours, 0), v[0] = byte_of(colours, 1);
        u[1] = byte_of(colours, 2 * odd), v[1] = byte_of(colours, 2 * odd + 1);
      } else {
        const u64 us = bytes_at<2>(at(frame, 1, row >> 1, block), crosses ? 2 : 1);
        const u64 vs = bytes_at<2>(at(frame, 2, row >> 1, block), crosses ? 2 : 1);
        u[0] = byte_of(us, 0), v[0] = byte_of(vs, 0);
        u[1] = byte_of(us, odd), v[1] = byte_of(vs, odd);
      }
    }
    return {of_yuv(frame, left, u[0], v[0]), of_yuv(frame, right, u[1], v[1])};
  }
}

// ---------------------------------------------------------------- resize: linear
// Between two values, in 256ths.
__device__ inline int between(int low, int high, int weight) { return low * 256 + (high - low) * weight; }
__device__ inline Pixel between(const Pair &pair, int weight) {
  return {between(pair.left.blue, pair.right.blue, weight), between(pair.left.green, pair.right.green, weight),
          between(pair.left.red, pair.right.red, weight)};
}
__device__ inline int rounded(int above, int below, int weight) {
  return (above * 256 + (below - above) * weight + 32768) >> 16;
}

// Taps are (first of two pixels, weight of the second in 256ths), see resize.taps. A weight is 0 where there is none.
template <int FORMAT>
__device__ inline Pixel interpolated(const Frame &frame, int2 v, int2 h) {
  const int lower = v.x + (v.y != 0);
  const Pixel above = between(pair_at<FORMAT>(frame, v.x, h.x, h.y != 0), h.y);
  const Pixel below = between(pair_at<FORMAT>(frame, lower, h.x, h.y != 0), h.y);
  return {rounded(above.blue, below.blue, v.y), rounded(above.green, below.green, v.y),
          rounded(above.red, below.red, v.y)};
}

// ---------------------------------------------------------------- resize: area
// An edge of an output pixel is (whole pixels of the frame, parts of the next one), see resize.cuts. How many parts of
// a frame's pixel, of `size` parts, lie between two edges; the first and the last pixel differ.
__device__ inline unsigned covered(int pixel, int2 from, int2 to, int size) {
  return static_cast<unsigned>(pixel == from.x ? size - from.y : pixel == to.x ? to.y : size);
}

template <int FORMAT>
__device__ inline Pixel averaged(const Frame &frame, const int2 *v, const int2 *h, int rows, int columns, u64 total) {
  const int2 top = v[0], bottom = v[1], left = h[0], right = h[1];
  const int last_row = bottom.x - (bottom.y == 0), last_column = right.x - (right.y == 0);
  u64 blue = total / 2, green = blue, red = blue;
  for (int row = top.x; row <= last_row; ++row) {
    unsigned of_blue = 0, of_green = 0, of_red = 0; // each at most 255 × the frame's columns
    for (int column = left.x; column <= last_column; column += 2) {
      const bool both = column < last_column;
      const Pair pair = pair_at<FORMAT>(frame, row, column, both);
      const unsigned first = covered(column, left, right, columns);
      const unsigned second = both ? covered(column + 1, left, right, columns) : 0;
      of_blue += pair.left.blue * first + pair.right.blue * second;
      of_green += pair.left.green * first + pair.right.green * second;
      of_red += pair.left.red * first + pair.right.red * second;
    }
    const u64 of_row = covered(row, top, bottom, rows);
    blue += of_blue * of_row, green += of_green * of_row, red += of_red * of_row;
  }
  return {static_cast<int>(blue / total), static_cast<int>(green / total), static_cast<int>(red / total)};
}

// ---------------------------------------------------------------- kernels
template <int FORMAT, bool AVERAGES>
__device__ inline Pixel resized(const Frame &frame, const int2 *taps, int x, int y, int rows, int columns, u64 total) {
  if constexpr (AVERAGES) return averaged<FORMAT>(frame, taps + y, taps + rows + 1 + x, rows, columns, total);
  else return interpolated<FORMAT>(frame, taps[y], taps[rows + x]);
}

template <bool AVERAGES>
__device__ inline Pixel resized(int format, const Frame &frame, const int2 *taps, int x, int y, int rows, int columns,
                                u64 total) {
  switch (format) { // the same for all threads
  case BGR: return resized<BGR, AVERAGES>(frame, taps, x, y, rows, columns, total);
  case BGRX: return resized<BGRX, AVERAGES>(frame, taps, x, y, rows, columns, total);
  case GRAY8: return resized<GRAY8, AVERAGES>(frame, taps, x, y, rows, columns, total);
  case YUYV: return resized<YUYV, AVERAGES>(frame, taps, x, y, rows, columns, total);
  case NV12: return resized<NV12, AVERAGES>(frame, taps, x, y, rows, columns, total);
  default: return resized<I420, AVERAGES>(frame, taps, x, y, rows, columns, total);
  }
}

// Grid: (columns of the image / 32, rows / WARPS). A warp makes 32 pixels of a row, so that they are written together.
// Coefficients, offsets and strides are those of the frame's layout; mean and deviation are in the image's channel
// order. The kernels with `area` are for frames larger than the image in both directions.
#define PREPROCESS(NAME, AVERAGES, OUT)                                                                                \
  extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)                                                        \
      NAME(const unsigned char *__restrict__ frame, const int2 *__restrict__ taps, int format, int frame_rows,         \
           int frame_columns, int offset0, int offset1, int offset2, int stride0, int stride1, int stride2, int luma,  \
           int red_v, int green_u, int green_v, int blue_u, int black, int rows, int columns, int is_rgb, int mean0,   \
           int mean1, int mean2, int deviation0, int deviation1, int deviation2, OUT *__restrict__ image) {            \
    const int x = blockIdx.x * 32 + threadIdx.x % 32, y = blockIdx.y * WARPS + threadIdx.x / 32;                       \
    if (x >= columns || y >= rows) return;                                                                             \
    const Frame from = {{frame + offset0, frame + offset1, frame + offset2},                                           \
                        {stride0, stride1, stride2},                                                                   \
                        luma, red_v, green_u, green_v, blue_u, black};                                                 \
    const u64 total = static_cast<u64>(frame_rows) * frame_columns;                                                    \
    const Pixel pixel = resized<AVERAGES>(format, from, taps, x, y, rows, columns, total);                             \
    OUT *to = image + static_cast<size_t>(y) * columns + x;                                                            \
    const size_t plane = static_cast<size_t>(rows) * columns;                                                          \
    store(to, (static_cast<float>(is_rgb ? pixel.red : pixel.blue) - __int_as_float(mean0)) /                          \
                  __int_as_float(deviation0));                                                                         \
    store(to + plane, (static_cast<float>(pixel.green) - __int_as_float(mean1)) / __int_as_float(deviation1));         \
    store(to + 2 * plane, (static_cast<float>(is_rgb ? pixel.blue : pixel.red) - __int_as_float(mean2)) /              \
                              __int_as_float(deviation2));                                                             \
  }
PREPROCESS(ssd_preprocess_fp32, false, float)
PREPROCESS(ssd_preprocess_fp16, false, Half)
PREPROCESS(ssd_preprocess_area_fp32, true, float)
PREPROCESS(ssd_preprocess_area_fp16, true, Half)
