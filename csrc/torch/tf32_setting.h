// PyTorch's setting for float32 convolutions on CUDA.
#pragma once

#include <pybind11/pybind11.h>

#include <string>

namespace cnnkern {

/// Whether operands may be rounded to tf32. Asked at every call, as PyTorch's own convolutions do,
/// so that the setting of that moment holds in a backward pass and in a compiled graph too; the
/// stable ABI cannot tell, Python can.
inline bool torch_allows_tf32() {
  const pybind11::gil_scoped_acquire gil;
  const auto cudnn = pybind11::module_::import("torch.backends.cudnn");
  return cudnn.attr("conv").attr("fp32_precision").cast<std::string>() == "tf32";
}

}  // namespace cnnkern
