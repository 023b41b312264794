#pragma once
/// SHA-256 (FIPS 180-4) and HMAC (RFC 2104), for proving that both ends of a byte stream hold the same key
/// file.
#include <array>
#include <cstddef>
#include <span>

namespace splitcnn::inline v0::dpu {

using Digest = std::array<std::byte, 32>;

Digest sha256(std::span<const std::byte> data);
Digest hmac_sha256(std::span<const std::byte> key, std::span<const std::byte> data);
/// Takes the same time wherever they differ.
bool same(const Digest& a, const Digest& b) noexcept;

}  // namespace splitcnn::inline v0::dpu
