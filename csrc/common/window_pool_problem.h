// One struct describes the max poolings whose windows no stride gives, 1-d to 3-d, and unpooling.
//
//   output[n,c,z,p,q] = max over the window's taps; NaN wins, of equal values the first
//
// Windows are products of one window per axis, and lie inside the input.
//   adaptive:   window o of O has taps ⌊o·I/O⌋, …, ⌈(o + 1)·I/O⌉ − 1.
//   fractional: K taps from a position on that a random sample u of each plane and axis fixes
//   (Graham
//               2014): ⌊(o + u)·α⌋ − ⌊u·α⌋ with α = (I − K) / (O − 1); the last window ends the
//               axis.
// The backward direction gives each window's gradient to the position that its index names. unpool
// writes each value to the position that its index names, and zeros between; of several values for
// one position the last stays.
#pragma once

#include <cstdint>
#include <type_traits>

#include "common/conv_problem.h"

namespace cnnkern {

/// forward: output and indices from input; backward: grad input from grad output and indices;
/// unpool: input from output and indices, which may be any.
enum class WindowPoolDirection { forward, backward, unpool };

const char* to_string(WindowPoolDirection direction);

struct WindowPoolProblem {
  WindowPoolDirection direction = WindowPoolDirection::forward;
  DType dtype = DType::float32;
  Layout layout = Layout::nchw;
  int spatial_dims = 2;

  int64_t n = 1, c = 1;
  Extent3 input, output;
  bool fractional = false;
  Extent3 window;  // of fractional windows only

  int64_t input_elements() const { return n * c * input.volume(); }
  int64_t output_elements() const { return n * c * output.volume(); }
  int64_t result_elements() const {
    return direction == WindowPoolDirection::forward ? output_elements() : input_elements();
  }
  int64_t sample_elements() const { return fractional ? n * c * spatial_dims : 0; }

  /// Throws if fractional windows do not fit into the input, or no window is to be at all.
  void check_windows() const;

  bool operator==(const WindowPoolProblem&) const = default;
};

/// Dense tensors in the problem's layout; indices as in PoolTensors. Samples, of fractional windows
/// only: one for each plane and axis, outermost axis first, N × C × spatial_dims in this order.
struct WindowPoolTensors {
  void* input = nullptr;
  void* output = nullptr;
  int64_t* indices = nullptr;
  const void* samples = nullptr;
};

/// Where an axis' fractional windows begin. PyTorch's arithmetic, in the tensor's own type: for 16
/// bits each step is rounded. Begins never fall and stay in the input, whatever the sample.
template <class T>
struct FractionalAxis {
  using A = accumulator_t<T>;
  int64_t last, windows;  // where the last window begins
  A alpha;

  FractionalAxis(int64_t size, int64_t taps, int64_t windows_)
      : last(size - taps),
        windows(windows_),
        alpha(windows > 1 ? rounded(static_cast<A>(last)) / rounded(static_cast<A>(windows - 1))
                          : A(0)) {
    alpha = rounded(alpha);
  }

  CNNKERN_HOST_DEVICE int64_t begin(int64_t o, A sample) const {
    if (o >= windows - 1) return last;
    const A moved = rounded(rounded(static_cast<A>(o)) + sample);
    const int64_t at = whole(rounded(moved * alpha)) - whole(rounded(sample * alpha));
    return at < 0 ? 0 : at < last ? at : last;
  }

 private:
  CNNKERN_HOST_DEVICE static A rounded(A value) {
    if constexpr (std::is_same_v<T, A>) return value;
    else return static_cast<A>(T(value));
  }
  // The integer part; of what no axis reaches, and of NaN, the nearest that is defined.
  CNNKERN_HOST_DEVICE static int64_t whole(A value) {
    constexpr A limit = 1 << 30;
    if (!(value > -limit)) return -(int64_t{1} << 30);
    return value < limit ? static_cast<int64_t>(value) : int64_t{1} << 30;
  }
};

}  // namespace cnnkern
