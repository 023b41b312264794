// Profile files: times that can be asked for, or an Error.
#include "fuzz/fuzz.hpp"
#include "splitcnn/profile.hpp"

using namespace splitcnn;

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto path = splitcnn_fuzz::as_file({data, size});
  splitcnn_fuzz::only_errors([&] {
    const Profile profile = Profile::load(path);
    for (const DeviceProfile& d : profile.devices) {
      const int units = static_cast<int>(d.prefix_ms.size()) - 1;
      splitcnn_fuzz::expect(units >= 1 && d.suffix_ms.size() == d.prefix_ms.size(), "a time for every cut");
      (void)profile.segment_ms(d.device, 0, units);
      (void)profile.segment_ms(d.device, 0, 1);
    }
    for (const Link& l : profile.links) (void)profile.transfer_ms(l.from, l.to, 1000);
  });
  return 0;
}
