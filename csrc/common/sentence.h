// A sentence from its parts, which may be numbers: how plans and checks say why.
#pragma once

#include <sstream>
#include <string>

namespace cnnkern {

template <class... Parts>
std::string sentence(const Parts&... parts) {
  std::ostringstream text;
  (text << ... << parts);
  return text.str();
}

}  // namespace cnnkern
