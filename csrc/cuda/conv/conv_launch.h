// Starts the kernels that a plan names. Tensors are dense, in the problem's layout; see
// ConvTensors.
#pragma once

#include "common/launch.h"
#include "cuda/conv/conv_plan.h"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {

/// Pointers need only the alignment of an element: where a vector load would be misaligned, the
/// scalar kernel of the same tile runs instead.
void launch_conv(const ConvPlan& plan, const ConvProblem& problem, const ConvTensors& tensors,
                 cudaStream_t stream);

/// What vector loads ask of the tensors that are not moved.
bool lie_on_16_bytes(const ConvTensors& tensors);

/// grad_bias[k] = the sum of tensors.output (the gradient of the output) over N, Z, P, Q, written
/// to tensors.bias.
void launch_bias_grad(const ConvProblem& problem, const ConvTensors& tensors, cudaStream_t stream);

/// Which way a tensor goes: into the workspace, or back.
enum class LayoutWay { pad, unpad };

/// Moves one tensor of elements of 2 or 4 bytes; `padded` lies on 16 bytes.
void launch_layout_move(const LayoutMove& move, LayoutWay way, void* given, void* padded,
                        cudaStream_t stream);

// One launcher a row of conv_kernels.inc; each is instantiated next to its kernel.
template <class T>
void launch_direct(const ConvPlan&, const ConvProblem&, const ConvTensors&, cudaStream_t);
template <class T>
void launch_depthwise(const ConvPlan&, const ConvProblem&, const ConvTensors&, cudaStream_t);
template <class Element, Layout layout, int vector, int m, int n, int k>
void launch_gemm_fprop(const ConvPlan&, const ConvProblem&, const ConvTensors&, cudaStream_t);
template <class Element, Layout layout, int vector, int m, int n, int k>
void launch_gemm_dgrad(const ConvPlan&, const ConvProblem&, const ConvTensors&, cudaStream_t);
template <class Element, Layout layout, int vector, int m, int n, int k>
void launch_gemm_wgrad(const ConvPlan&, const ConvProblem&, const ConvTensors&, cudaStream_t);
template <ConvDirection direction, Layout layout>
void launch_winograd(const ConvPlan&, const ConvProblem&, const ConvTensors&, cudaStream_t);
template <ConvDirection direction, Layout layout>
void launch_winograd_4x4(const ConvPlan&, const ConvProblem&, const ConvTensors&, cudaStream_t);
template <class Element, int m, int n, int k>
void launch_mma_fprop(const ConvPlan&, const ConvProblem&, const ConvTensors&, cudaStream_t);
template <class Element, int m, int n, int k>
void launch_mma_dgrad(const ConvPlan&, const ConvProblem&, const ConvTensors&, cudaStream_t);
template <class Element, int m, int n, int k>
void launch_mma_wgrad(const ConvPlan&, const ConvProblem&, const ConvTensors&, cudaStream_t);
template <class Element, int m, int n, int k>
void launch_first_layer(const ConvPlan&, const ConvProblem&, const ConvTensors&, cudaStream_t);
template <class Element, int m, int n, int k>
void launch_first_layer_wgrad(const ConvPlan&, const ConvProblem&, const ConvTensors&,
                              cudaStream_t);

using LadderLauncher = void(const ConvPlan&, const ConvProblem&, const ConvTensors&, cudaStream_t);
LadderLauncher launch_ladder_1, launch_ladder_2, launch_ladder_3, launch_ladder_4, launch_ladder_5,
    launch_ladder_6;

inline dim3 grid_of(const ConvPlan& plan) {
  return dim3(static_cast<unsigned>(plan.grid[0]), static_cast<unsigned>(plan.grid[1]),
              static_cast<unsigned>(plan.grid[2]));
}

/// weight[i] = Σ over split-K parts, in order, of workspace[part · elements + i].
template <class Element>
void launch_split_k_reduce(const accumulator_t<Element>* workspace, Element* weight,
                           int64_t elements, int parts, cudaStream_t stream);

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
