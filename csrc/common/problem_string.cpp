#include "common/problem_string.h"

#include <cctype>
#include <map>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <vector>

namespace cnnkern {
namespace {

using Sizes = std::map<std::string, int64_t>;

const std::vector<std::string> size_keys = {
    "n",  "g",  "c",  "d",  "h",  "w",  "k",  "t",  "r",  "s",  "u",  "p",  "l",  "ud",
    "uh", "uw", "pd", "ph", "pw", "ld", "lh", "lw", "pf", "pk", "pt", "pb", "pl", "pr"};

[[noreturn]] void fail(const std::string& word, const std::string& why) {
  throw std::invalid_argument("problem: '" + word + "' " + why);
}

// Splits n8c64h56… into key/number pairs; nothing if the word is not of that form, as names are.
Sizes parse_sizes(const std::string& word) {
  Sizes sizes;
  size_t at = 0;
  while (at < word.size()) {
    std::string key;
    while (at < word.size() && std::islower(static_cast<unsigned char>(word[at])))
      key += word[at++];
    std::string number;
    while (at < word.size() && std::isdigit(static_cast<unsigned char>(word[at])))
      number += word[at++];
    if (key.empty() || number.empty()) return {};
    bool known = false;
    for (const std::string& candidate : size_keys) known = known || candidate == key;
    if (!known) return {};
    if (number.size() > 15) fail(word, "has a number of more than 15 digits: " + number);
    if (!sizes.emplace(key, std::stoll(number)).second) fail(word, "gives " + key + " twice");
  }
  return sizes.count("c") ? sizes : Sizes{};
}

// The M of a word such as divisor5; 0 if the word is none.
int64_t divisor_in(const std::string& word) {
  const std::string key = "divisor";
  if (!word.starts_with(key) || word.size() == key.size() || word.size() > key.size() + 15 ||
      word.find_first_not_of("0123456789", key.size()) != std::string::npos)
    return 0;
  return std::stoll(word.substr(key.size()));
}

// Direction, and whether fractional, of the max poolings over windows of their own.
std::optional<std::pair<WindowPoolDirection, bool>> window_kind(const std::string& word) {
  if (word == "adaptive_maxpool") return {{WindowPoolDirection::forward, false}};
  if (word == "adaptive_maxpool_backward") return {{WindowPoolDirection::backward, false}};
  if (word == "fractional_maxpool") return {{WindowPoolDirection::forward, true}};
  if (word == "fractional_maxpool_backward") return {{WindowPoolDirection::backward, true}};
  if (word == "max_unpool") return {{WindowPoolDirection::unpool, false}};
  return {};
}

struct Geometry {
  int spatial_dims;
  Extent3 input, filter, stride, dilation, pad_begin, pad_end;
};

Geometry geometry_of(const Sizes& sizes) {
  const auto get = [&](const std::string& key, int64_t fallback) {
    const auto found = sizes.find(key);
    return found == sizes.end() ? fallback : found->second;
  };
  Geometry g;
  g.spatial_dims = sizes.count("d") ? 3 : sizes.count("h") ? 2 : 1;
  const int64_t h = get("h", 1), r = get("r", g.spatial_dims == 1 ? 1 : get("s", 1));
  g.input = {get("d", 1), h, get("w", h)};
  g.filter = {get("t", g.spatial_dims == 3 ? r : 1), r, get("s", r)};
  const char* axis_names = "dhw";
  const char* begin_keys[3] = {"pf", "pt", "pl"};
  const char* end_keys[3] = {"pk", "pb", "pr"};
  for (int axis = 0; axis < 3; ++axis) {
    const bool present = axis >= 3 - g.spatial_dims;
    const auto per_axis = [&](const std::string& key, int64_t fallback) {
      return get(key + axis_names[axis], present ? get(key, fallback) : fallback);
    };
    g.stride[axis] = per_axis("u", 1);
    g.dilation[axis] = per_axis("l", 1);
    g.pad_begin[axis] = get(begin_keys[axis], per_axis("p", 0));
    g.pad_end[axis] = get(end_keys[axis], per_axis("p", 0));
  }
  return g;
}

void append_axes(std::ostringstream& out, const std::string& key, const Extent3& value,
                 int spatial_dims, int64_t fallback) {
  bool same = true;
  for (int axis = 3 - spatial_dims; axis < 3; ++axis) same = same && value[axis] == value.w;
  if (same) {
    if (value.w != fallback) out << key << value.w;
    return;
  }
  for (int axis = 3 - spatial_dims; axis < 3; ++axis)
    if (value[axis] != fallback) out << key << "dhw"[axis] << value[axis];
}

void append_window(std::ostringstream& out, const Extent3& window, int spatial_dims) {
  if (spatial_dims == 3) out << "t" << window.d;
  if (spatial_dims >= 2) out << "r" << window.h;
  out << "s" << window.w;
}

void append_input(std::ostringstream& out, const Extent3& input, int spatial_dims) {
  if (spatial_dims == 3) out << "d" << input.d;
  if (spatial_dims >= 2) out << "h" << input.h;
  out << "w" << input.w;
}

void append_options(std::ostringstream& out, DType dtype, Layout layout) {
  if (dtype == DType::float64) out << " f64";
  if (dtype == DType::float16) out << " f16";
  if (dtype == DType::bfloat16) out << " bf16";
  if (dtype == DType::uint8) out << " u8";
  if (dtype == DType::int8) out << " i8";
  if (dtype == DType::int16) out << " i16";
  if (dtype == DType::int32) out << " i32";
  if (dtype == DType::int64) out << " i64";
  if (layout == Layout::nhwc) out << " nhwc";
}

}  // namespace

NamedProblem parse_problem(const std::string& text) {
  NamedProblem result;
  Sizes sizes;
  DType dtype = DType::float32;
  Layout layout = Layout::nchw;
  ConvDirection conv_direction = ConvDirection::fprop;
  PoolDirection pool_direction = PoolDirection::forward;
  AvgPoolProblem average;  // its options; the sizes come at the end
  WindowPoolProblem windows;
  bool ceil_mode = false, values = false, offsets = false, residual = false, preactivation = false,
       complex = false, tf32 = false;
  std::optional<Activation> activation;

  std::istringstream words(text);
  for (std::string word; words >> word;) {
    if (word == "f32") dtype = DType::float32;
    else if (word == "f64") dtype = DType::float64;
    else if (word == "f16") dtype = DType::float16;
    else if (word == "bf16") dtype = DType::bfloat16;
    else if (word == "u8") dtype = DType::uint8;
    else if (word == "i8") dtype = DType::int8;
    else if (word == "i16") dtype = DType::int16;
    else if (word == "i32") dtype = DType::int32;
    else if (word == "i64") dtype = DType::int64;
    else if (word == "nchw") layout = Layout::nchw;
    else if (word == "nhwc") layout = Layout::nhwc;
    else if (word == "fprop") conv_direction = ConvDirection::fprop;
    else if (word == "dgrad") conv_direction = ConvDirection::dgrad;
    else if (word == "wgrad") conv_direction = ConvDirection::wgrad;
    else if (word == "maxpool") result.is_pool = true;
    else if (word == "maxpool_backward")
      result.is_pool = true, pool_direction = PoolDirection::backward;
    else if (const auto kind = window_kind(word)) {
      result.is_window_pool = true;
      windows.direction = kind->first, windows.fractional = kind->second;
    } else if (word.ends_with("avgpool") || word.ends_with("avgpool_backward")) {
      const std::string kind = word.substr(0, word.find("avgpool"));
      if (kind != "" && kind != "adaptive_") fail(word, "is no option");
      result.is_avg_pool = true, average.adaptive = kind != "";
      if (word.ends_with("_backward")) average.direction = AvgPoolDirection::backward;
    } else if (word == "unfold" || word == "fold") {
      result.is_unfold = true;
      if (word == "fold") result.unfold.direction = UnfoldDirection::fold;
    } else if (word == "complex") complex = true;
    else if (word == "exclude_pad") average.count_include_pad = false;
    else if (divisor_in(word) != 0) average.divisor = divisor_in(word);
    else if (word == "ceil") ceil_mode = true;
    else if (word == "values") values = true;
    else if (word == "offsets") offsets = true;
    else if (word == "tf32") tf32 = true;
    else if (word == "residual") residual = true;
    else if (word == "preactivation") preactivation = true;
    else if (activation_named(word)) activation = activation_named(word);
    else if (word.size() > 1 && word.size() < 8 && word[0] == 'x' &&
             word.find_first_not_of("0123456789", 1) == std::string::npos)
      result.multiplicity = std::stoi(word.substr(1));
    else if (sizes.empty() && !parse_sizes(word).empty()) sizes = parse_sizes(word);
    else if (sizes.empty() && result.name.empty()) result.name = word;
    else
      fail(
          word,
          "is no size list and no option (f32 f64 f16 bf16 u8 i8 i16 i32 i64 nchw nhwc fprop dgrad "
          "wgrad maxpool maxpool_backward avgpool avgpool_backward adaptive_avgpool "
          "adaptive_avgpool_backward adaptive_maxpool adaptive_maxpool_backward fractional_maxpool "
          "fractional_maxpool_backward max_unpool unfold fold complex ceil values offsets "
          "exclude_pad divisorM xM tf32, an activation, residual, preactivation)");
  }
  if (sizes.empty()) fail(text, "has no size list such as n8c64h56w56k64r3s3p1");
  if (!sizes.count("h") && !sizes.count("w")) fail(text, "gives neither h nor w");

  const auto get = [&](const char* key) { return sizes.count(key) ? sizes.at(key) : int64_t{1}; };
  const Geometry g = geometry_of(sizes);
  if (result.is_pool + result.is_avg_pool + result.is_window_pool + result.is_unfold > 1)
    fail(text, "is more than one kind of pooling, such as a max and an average pooling");
  if (!result.is_avg_pool && (!average.count_include_pad || average.divisor != 0))
    fail(text, "has options of an average pooling, but is none");
  if (values && !(result.is_pool && pool_direction == PoolDirection::forward))
    fail(text, "writes values alone, which only maxpool can");
  if (offsets && (!result.is_pool || values))
    fail(text, "has window offsets, which only maxpool and maxpool_backward have, beside values");
  if (complex && !(result.is_unfold &&
                   (dtype == DType::float32 || dtype == DType::float64 || dtype == DType::float16)))
    fail(text, "is complex, which only unfold and fold of f16, f32 or f64 are");
  const bool conv =
      !(result.is_pool || result.is_avg_pool || result.is_window_pool || result.is_unfold);
  if (tf32 && !(conv && dtype == DType::float32))
    fail(text, "may round to tf32, which is for convolutions of f32");
  if (!conv) {
    const std::string kind = result.is_unfold ? "is an unfold or fold" : "is a pooling";
    if (sizes.count("k") || sizes.count("g")) fail(text, kind + " and takes no k and no g");
    if (!(g.pad_begin == g.pad_end)) fail(text, kind + " and takes the same padding on both sides");
    if (activation || residual || preactivation)
      fail(text, kind + " and takes no activation, residual or preactivation");
  }
  if (result.is_unfold) {
    UnfoldProblem& p = result.unfold;
    if (g.spatial_dims != 2 || layout == Layout::nhwc || ceil_mode)
      fail(text, "is an unfold or fold: it needs h, and takes no d, nhwc or ceil");
    p.dtype = dtype, p.parts = complex ? 2 : 1;
    p.n = get("n"), p.c = get("c"), p.image = g.input, p.kernel = g.filter;
    p.stride = g.stride, p.dilation = g.dilation, p.pad = g.pad_begin;
    p.check_arguments();
    p.set_blocks();
    if (p.c < 1 || p.image.volume() < 1 || p.blocks.h < 1 || p.blocks.w < 1)
      fail(text, "has no channel, no pixel or no window that fits into the padded image");
  } else if (result.is_window_pool) {
    WindowPoolProblem& p = result.window_pool = windows;
    p.dtype = dtype, p.layout = layout, p.spatial_dims = g.spatial_dims;
    p.n = get("n"), p.c = get("c"), p.input = g.input, p.output = g.filter;
    if (!(g.dilation == Extent3{} && g.pad_begin == Extent3{0, 0, 0}) || ceil_mode ||
        !(p.fractional || g.stride == Extent3{}))
      fail(text, "takes no dilation, padding or ceil, and u only if it is fractional_maxpool");
    if (p.fractional) p.window = g.stride;
    p.check_windows();
  } else if (result.is_avg_pool) {
    AvgPoolProblem& p = result.avg_pool = average;
    p.dtype = dtype, p.layout = layout, p.spatial_dims = g.spatial_dims;
    p.n = get("n"), p.c = get("c"), p.input = g.input;
    if (p.adaptive) {
      if (!(g.stride == Extent3{} && g.dilation == Extent3{} && g.pad_begin == Extent3{0, 0, 0}) ||
          ceil_mode || !p.count_include_pad || p.divisor != 0)
        fail(text, "is adaptive and takes no stride, dilation, padding, ceil or divisor");
      p.output = g.filter;
    } else {
      p.window = g.filter, p.stride = g.stride, p.dilation = g.dilation, p.pad = g.pad_begin;
      p.ceil_mode = ceil_mode;
      p.set_output();
    }
  } else if (result.is_pool) {
    PoolProblem& p = result.pool;
    p.direction = pool_direction, p.dtype = dtype, p.layout = layout,
    p.spatial_dims = g.spatial_dims;
    p.n = get("n"), p.c = get("c");
    p.input = g.input, p.window = g.filter, p.stride = g.stride, p.dilation = g.dilation;
    p.pad = g.pad_begin, p.ceil_mode = ceil_mode;
    p.indices = values    ? PoolIndices::none
                : offsets ? PoolIndices::offsets
                          : PoolIndices::positions;
    p.set_output();
  } else {
    if (!sizes.count("k")) fail(text, "is a convolution and needs k, the number of filters");
    ConvProblem& p = result.conv;
    p.direction = conv_direction, p.dtype = dtype, p.layout = layout,
    p.spatial_dims = g.spatial_dims;
    p.n = get("n"), p.c = get("c"), p.k = get("k"), p.groups = get("g");
    p.input = g.input, p.filter = g.filter, p.stride = g.stride, p.dilation = g.dilation;
    p.pad_begin = g.pad_begin, p.pad_end = g.pad_end;
    p.activation = activation.value_or(Activation::none);
    p.residual = residual, p.preactivation = preactivation, p.tf32 = tf32;
    if (p.fused() && p.direction != ConvDirection::fprop)
      fail(text, "has an activation, a residual or a preactivation, which only fprop takes");
    p.set_output();
    p.validate();
  }
  return result;
}

std::string to_string(const ConvProblem& problem) {
  std::ostringstream out;
  out << "n" << problem.n;
  if (problem.groups != 1) out << "g" << problem.groups;
  out << "c" << problem.c;
  append_input(out, problem.input, problem.spatial_dims);
  out << "k" << problem.k;
  append_window(out, problem.filter, problem.spatial_dims);
  append_axes(out, "u", problem.stride, problem.spatial_dims, 1);
  append_axes(out, "p", problem.pad_begin, problem.spatial_dims, 0);
  const char* end_keys[3] = {"pk", "pb", "pr"};
  for (int axis = 0; axis < 3; ++axis)
    if (problem.pad_end[axis] != problem.pad_begin[axis])
      out << end_keys[axis] << problem.pad_end[axis];
  append_axes(out, "l", problem.dilation, problem.spatial_dims, 1);
  append_options(out, problem.dtype, problem.layout);
  if (problem.tf32) out << " tf32";
  if (problem.direction != ConvDirection::fprop) out << " " << to_string(problem.direction);
  if (problem.activation != Activation::none) out << " " << to_string(problem.activation);
  if (problem.residual) out << " residual";
  if (problem.preactivation) out << " preactivation";
  return out.str();
}

std::string to_string(const PoolProblem& problem) {
  std::ostringstream out;
  out << "n" << problem.n << "c" << problem.c;
  append_input(out, problem.input, problem.spatial_dims);
  append_window(out, problem.window, problem.spatial_dims);
  append_axes(out, "u", problem.stride, problem.spatial_dims, 1);
  append_axes(out, "p", problem.pad, problem.spatial_dims, 0);
  append_axes(out, "l", problem.dilation, problem.spatial_dims, 1);
  append_options(out, problem.dtype, problem.layout);
  out << (problem.direction == PoolDirection::backward ? " maxpool_backward" : " maxpool");
  if (problem.indices == PoolIndices::none) out << " values";
  if (problem.indices == PoolIndices::offsets) out << " offsets";
  if (problem.ceil_mode) out << " ceil";
  return out.str();
}

std::string to_string(const AvgPoolProblem& problem) {
  std::ostringstream out;
  out << "n" << problem.n << "c" << problem.c;
  append_input(out, problem.input, problem.spatial_dims);
  append_window(out, problem.adaptive ? problem.output : problem.window, problem.spatial_dims);
  append_axes(out, "u", problem.stride, problem.spatial_dims, 1);
  append_axes(out, "p", problem.pad, problem.spatial_dims, 0);
  append_axes(out, "l", problem.dilation, problem.spatial_dims, 1);
  append_options(out, problem.dtype, problem.layout);
  out << (problem.adaptive ? " adaptive_avgpool" : " avgpool");
  if (problem.direction == AvgPoolDirection::backward) out << "_backward";
  if (problem.ceil_mode) out << " ceil";
  if (!problem.count_include_pad) out << " exclude_pad";
  if (problem.divisor != 0) out << " divisor" << problem.divisor;
  return out.str();
}

std::string to_string(const WindowPoolProblem& problem) {
  std::ostringstream out;
  out << "n" << problem.n << "c" << problem.c;
  append_input(out, problem.input, problem.spatial_dims);
  append_window(out, problem.output, problem.spatial_dims);
  if (problem.fractional) append_axes(out, "u", problem.window, problem.spatial_dims, 1);
  append_options(out, problem.dtype, problem.layout);
  if (problem.direction == WindowPoolDirection::unpool) {
    out << " max_unpool";
    return out.str();
  }
  out << (problem.fractional ? " fractional_maxpool" : " adaptive_maxpool");
  if (problem.direction == WindowPoolDirection::backward) out << "_backward";
  return out.str();
}

std::string to_string(const UnfoldProblem& problem) {
  std::ostringstream out;
  out << "n" << problem.n << "c" << problem.c;
  append_input(out, problem.image, 2);
  append_window(out, problem.kernel, 2);
  append_axes(out, "u", problem.stride, 2, 1);
  append_axes(out, "p", problem.pad, 2, 0);
  append_axes(out, "l", problem.dilation, 2, 1);
  append_options(out, problem.dtype, Layout::nchw);
  if (problem.parts == 2) out << " complex";
  out << " " << to_string(problem.direction);
  return out.str();
}

}  // namespace cnnkern
