// Problems are strings: one grammar for tests, command line and benchmarks.
//
//   resnet50.conv2 x3 n16c64h56w56k64r3s3p1 f16 nhwc dgrad      a convolution
//   alexnet.pool1 n16c64h55w55r3s3u2 maxpool ceil                a max pooling
//   densenet.pool n8c128h56w56r2s2u2 avgpool                     an average pooling
//
// One word holds the sizes, each a key and a number; the rest are options in any order:
//   n images  g groups  c channels  d h w input  k filters  t r s filter or window
//   u stride  p padding  l dilation: for all axes, or one (ud uh uw, pd ph pw, ld lh lw)
//   pf pk pt pb pl pr: padding of one side (front back top bottom left right)
// Left out: n, g, u and l are 1, p is 0, w is h, s is r. Only w makes a problem 1-d, d makes it
// 3-d. Options: f32 f64 f16 bf16 u8 i8 i16 i32 i64, nchw nhwc, fprop dgrad wgrad, maxpool (forward)
// maxpool_backward, values (maxpool without indices), offsets (bytes for indices), avgpool
// avgpool_backward adaptive_avgpool adaptive_avgpool_backward, ceil, exclude_pad (not
// count_include_pad) and divisorM (divisor_override) of avgpool, xM (how often the layer occurs),
// tf32 (a f32 convolution's operands may be rounded to it). fprop alone: an activation (relu relu6
// tanh sigmoid gelu silu hardswish), residual (added before it), preactivation (kept). A word
// before the sizes is the layer's name. In adaptive_avgpool t r s are the output's sizes.
//
// Max pooling over windows of its own: adaptive_maxpool, fractional_maxpool, each with _backward,
// and max_unpool. t r s are the number of windows, and u is the size of a fractional one;
// max_unpool turns t r s values into d h w.
//
// n2c3h9w8r3s2u2p1 unfold (im2col) and fold (col2im): 2-d, h w are the image's, no nhwc; complex
// elements are two numbers of the dtype.
#pragma once

#include <string>

#include "common/avg_pool_problem.h"
#include "common/conv_problem.h"
#include "common/pool_problem.h"
#include "common/unfold_problem.h"
#include "common/window_pool_problem.h"

namespace cnnkern {

struct NamedProblem {
  std::string name;
  int multiplicity = 1;
  bool is_pool = false, is_avg_pool = false, is_window_pool = false,
       is_unfold = false;         // at most one
  ConvProblem conv;               // meaningful unless one of them
  PoolProblem pool;               // meaningful if is_pool
  AvgPoolProblem avg_pool;        // meaningful if is_avg_pool
  WindowPoolProblem window_pool;  // meaningful if is_window_pool
  UnfoldProblem unfold;           // meaningful if is_unfold
};

/// Throws std::invalid_argument with one sentence naming the word that is wrong.
NamedProblem parse_problem(const std::string& text);

/// The shortest string that parses back to the same problem.
std::string to_string(const ConvProblem& problem);
std::string to_string(const PoolProblem& problem);
std::string to_string(const AvgPoolProblem& problem);
std::string to_string(const WindowPoolProblem& problem);
std::string to_string(const UnfoldProblem& problem);

}  // namespace cnnkern
