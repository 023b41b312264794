#pragma once
// A V4L2 camera for 20_camera: YUYV frames in the driver's own mapped buffers.
#include <fcntl.h>
#include <linux/videodev2.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <span>
#include <splitcnn/pipeline.hpp>
#include <stdexcept>
#include <string>
#include <vector>

/// Streams from a device; nothing is copied before the pipeline converts.
class Camera {
 public:
  Camera(const std::string& path, int width, int height) : Camera{path} {
    v4l2_format format{};
    format.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
    format.fmt.pix.width = static_cast<__u32>(width);
    format.fmt.pix.height = static_cast<__u32>(height);
    format.fmt.pix.pixelformat = V4L2_PIX_FMT_YUYV;
    control(VIDIOC_S_FMT, &format, "set the format");
    const v4l2_pix_format& got = format.fmt.pix;  // the camera's nearest size
    if (got.pixelformat != V4L2_PIX_FMT_YUYV)
      throw std::runtime_error{path + ": the camera has no YUYV format"};
    frame_ = {.format = splitcnn::PixelFormat::yuyv,
              .width = static_cast<int>(got.width),
              .height = static_cast<int>(got.height),
              .strides = {got.bytesperline}};
    v4l2_requestbuffers request{.count = 4, .type = V4L2_BUF_TYPE_VIDEO_CAPTURE, .memory = V4L2_MEMORY_MMAP};
    control(VIDIOC_REQBUFS, &request, "get buffers");
    for (__u32 i = 0; i < request.count; ++i) {
      v4l2_buffer buffer{.index = i, .type = V4L2_BUF_TYPE_VIDEO_CAPTURE, .memory = V4L2_MEMORY_MMAP};
      control(VIDIOC_QUERYBUF, &buffer, "look at a buffer");
      void* memory = ::mmap(nullptr, buffer.length, PROT_READ, MAP_SHARED, fd_, buffer.m.offset);
      if (memory == MAP_FAILED)
        throw std::runtime_error{path + ": cannot map a buffer: " + std::strerror(errno)};
      buffers_.emplace_back(static_cast<std::uint8_t*>(memory), buffer.length);
      control(VIDIOC_QBUF, &buffer, "queue a buffer");
    }
    int type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
    control(VIDIOC_STREAMON, &type, "start");
  }
  Camera(const Camera&) = delete;
  Camera& operator=(const Camera&) = delete;
  ~Camera() {
    for (const auto buffer : buffers_) ::munmap(buffer.data(), buffer.size());
    ::close(fd_);
  }

  /// Waits for a frame, pushes it while its buffer is ours, and gives the buffer back.
  splitcnn::Push grab(splitcnn::Pipeline& pipe) {
    v4l2_buffer buffer{.type = V4L2_BUF_TYPE_VIDEO_CAPTURE, .memory = V4L2_MEMORY_MMAP};
    control(VIDIOC_DQBUF, &buffer, "take a frame");
    frame_.planes[0] = buffers_.at(buffer.index).data();
    const splitcnn::Push pushed = pipe.push(frame_);
    control(VIDIOC_QBUF, &buffer, "give a frame back");
    return pushed;
  }

 private:
  explicit Camera(const std::string& path) : path_{path}, fd_{::open(path.c_str(), O_RDWR | O_CLOEXEC)} {
    if (fd_ < 0) throw std::runtime_error{path + ": cannot open: " + std::strerror(errno)};
  }
  void control(unsigned long request, void* argument, const char* what) const {
    while (::ioctl(fd_, request, argument) < 0) {
      if (errno != EINTR) throw std::runtime_error{path_ + ": cannot " + what + ": " + std::strerror(errno)};
    }
  }

  std::string path_;
  int fd_;
  splitcnn::CameraFrame frame_;
  std::vector<std::span<std::uint8_t>> buffers_;
};
