#pragma once
/// A folder of one test's own, gone at the end of its scope. ctest runs the cases of one program side by side: no
/// test may use a fixed name.
#include <stdlib.h>  // mkdtemp

#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>

namespace splitcnn_test {

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "splitcnn-test-XXXXXX").string();
    if (!mkdtemp(name.data())) throw std::runtime_error{name + ": no temporary folder can be made; set TMPDIR"};
    path_ = name;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  [[nodiscard]] std::filesystem::path operator/(const std::string& name) const { return path_ / name; }
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  std::filesystem::path write(const std::string& name, const std::string& bytes) const {
    std::ofstream{path_ / name, std::ios::binary} << bytes;
    return path_ / name;
  }

 private:
  std::filesystem::path path_;
};

}  // namespace splitcnn_test
