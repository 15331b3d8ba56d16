// Unfold (im2col) and fold (col2im): the windows of an image as columns, and their sum back into
// it.
//
//   unfold: columns[n, (c·R + r)·S + s, p·Q + q] =
//               image[n, c, p·stride.h + r·dilation.h − pad.h, q·stride.w + s·dilation.w − pad.w],
//           zero outside the image;
//   fold:   image[n, c, h, w] = Σ of the columns' elements that unfold reads there.
// Each is the other's derivative. Dense tensors, images (N, C, H, W), columns (N, C·R·S, P·Q).
#pragma once

#include <cstdint>

#include "common/conv_problem.h"

namespace cnnkern {

enum class UnfoldDirection { unfold, fold };

const char* to_string(UnfoldDirection direction);

struct UnfoldProblem {
  UnfoldDirection direction = UnfoldDirection::unfold;
  DType dtype = DType::float32;  // of a part
  int parts = 1;                 // of an element: two for complex numbers

  int64_t n = 1, c = 1;
  Extent3 image, kernel, stride, dilation;  // H, R, …; along d all are 1
  Extent3 pad{0, 0, 0};
  Extent3 blocks;  // P, Q; see set_blocks()

  bool fold() const { return direction == UnfoldDirection::fold; }
  int64_t rows() const { return c * kernel.volume(); }
  int64_t image_elements() const { return n * c * image.volume(); }
  int64_t column_elements() const { return n * rows() * blocks.volume(); }

  /// Throws when kernel, stride, dilation or padding is out of its range; PyTorch's phrases.
  void check_arguments() const;

  /// Sets P and Q by (image + 2·pad − dilation·(kernel − 1) − 1)/stride + 1; they may be below 1.
  void set_blocks();
};

struct UnfoldTensors {
  void* image = nullptr;
  void* columns = nullptr;
};

}  // namespace cnnkern
