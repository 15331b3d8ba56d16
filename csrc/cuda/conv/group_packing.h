// Grouped convolutions with few channels a group, on tensor cores: several groups become one.
//
// A tile is 32 channels deep and at least 32 wide; a group of 4 to 16 channels leaves most of it
// empty. P neighbouring groups make one of P times the channels and filters, whose filters have
// zeros where they meet a channel of another group: the weight becomes block-diagonal, which is
// done by the layout pass (layout_pass.h). In channels last the other tensors stay as they are.
// Forward and for the input gradient a NaN or infinity of one group meets those zeros, and so
// reaches the groups packed with it; of the weight gradient the blocks of the diagonal are taken.
// Pure host code. Source: Qin et al., "Diagonalwise Refactorization: An Efficient Training Method
// for Depthwise Convolutions" (2018).
#pragma once

#include "common/device_caps.h"
#include "cuda/conv/layout_pass.h"

namespace cnnkern {

/// The pass to the tensor cores: with as many groups in one as is modelled to be fastest.
LayoutPass pack_groups(const ConvProblem& problem, const DeviceCaps& device);

}  // namespace cnnkern
