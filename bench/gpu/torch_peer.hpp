#pragma once
/// The same network in PyTorch: the child process peers/torch_tail.py, fed with the library's own graph, weights and frames.
///
///     TorchPeer peer{"python3", "cuda"};
///     if (!peer.missing().empty()) say(peer.missing());
///     if (const std::string why = peer.open(one_case); !why.empty()) say(why);
///     if (const std::string why = peer.prepare("eager", 8, 60); why.empty()) times = peer.run(50);
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "case.hpp"
#include "peer_process.hpp"

namespace bench {

class TorchPeer {
 public:
  /// `python` empty: there is to be no peer. `device` is "cuda" or "cpu" (for checking the peer itself). Does not throw: missing() says why.
  TorchPeer(const std::string& python, const std::string& device);
  ~TorchPeer();
  TorchPeer(const TorchPeer&) = delete;
  TorchPeer& operator=(const TorchPeer&) = delete;

  /// Why there is no peer; empty when there is one.
  [[nodiscard]] const std::string& missing() const noexcept { return missing_; }
  [[nodiscard]] const std::string& version() const noexcept { return version_; }

  // These give a reason, or nothing when they worked.
  [[nodiscard]] std::string open(const Case& c);
  /// The variant for a batch size, warmed up, within so many seconds: "eager", "graph" or "compile".
  [[nodiscard]] std::string prepare(const std::string& variant, std::size_t batch, double seconds);

  /// Of the prepared variant: host memory to host memory, in ms. Empty when the child has died.
  [[nodiscard]] std::vector<double> run(int count);
  /// Results of the first frames of the prepared variant, as Case::compare takes them.
  [[nodiscard]] std::vector<splitcnn::Tensor> results(const Case& c, std::size_t batch) const;

 private:
  std::filesystem::path folder_;
  std::unique_ptr<PeerProcess> process_;
  std::string missing_, version_;
};

}  // namespace bench
