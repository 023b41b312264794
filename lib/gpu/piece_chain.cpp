#include "gpu/piece_chain.hpp"

#include <algorithm>

#include "plan/segment_io.hpp"
#include "splitcnn/cpu_stage.hpp"

namespace splitcnn::inline v0::gpu {

namespace {

std::size_t find(std::span<const EdgeTensor> edges, const std::string& name) {
  const auto at =
      std::find_if(edges.begin(), edges.end(), [&](const EdgeTensor& e) { return e.spec.name == name; });
  return static_cast<std::size_t>(at - edges.begin());
}

/// The plan with the segment cut into its pieces: then segment_io() gives each piece the edges its neighbours
/// expect.
Plan cut(const Plan& plan, const Segment& segment, const std::vector<TailPiece>& pieces) {
  Route route;
  for (const Route& r : plan.routes()) {
    const bool mine = std::any_of(r.segments.begin(), r.segments.end(), [&](const Segment& s) {
      return s.device == segment.device && s.first == segment.first && s.last == segment.last;
    });
    if (mine && route.segments.empty()) route.segments = r.segments;
  }
  std::vector<Segment> segments;
  for (const Segment& s : route.segments) {
    if (s.first != segment.first) {
      segments.push_back(s);
      continue;
    }
    for (const TailPiece& piece : pieces) {
      Segment part = s;
      part.first = piece.first;
      part.last = piece.last;
      if (!piece.on_gpu) part.device = "cpu";
      segments.push_back(part);
    }
  }
  route.segments = std::move(segments);
  Plan inner{plan.graph(), plan.quant() ? std::optional{*plan.quant()} : std::nullopt, {route}};
  inner.input_transform = plan.input_transform;
  return inner;
}

}  // namespace

PieceChain::PieceChain(const Plan& plan, const Segment& segment, const std::vector<TailPiece>& pieces,
                       const GpuStageOptions& options) {
  const SegmentIo outer = segment_io(plan, segment);
  n_in_ = outer.inputs.size();
  n_out_ = outer.outputs.size();
  const Plan inner = cut(plan, segment, pieces);
  for (const Segment& part : inner.route(0).segments) {
    if (part.first < segment.first || part.last > segment.last) continue;
    Piece piece;
    if (part.device == segment.device) {
      GpuStageOptions insist = options;
      insist.backend = GpuBackend::cudnn;
      piece.stage = std::make_unique<GpuStage>(inner, part, insist);
    } else {
      piece.stage = std::make_unique<CpuStage>(
          inner, part, CpuStageOptions{.storage = DType::f16, .threads = options.threads});
    }
    const auto between = [&](const TensorSpec& spec) {
      const auto at =
          std::find_if(between_.begin(), between_.end(), [&](const Tensor& t) { return t.spec() == spec; });
      if (at != between_.end()) return static_cast<std::size_t>(at - between_.begin());
      between_.emplace_back(spec);
      return between_.size() - 1;
    };
    const auto connect = [&](std::span<const TensorSpec> specs, std::span<const EdgeTensor> edges,
                             std::vector<Place>& places) {
      for (const TensorSpec& spec : specs) {
        const std::size_t i = find(edges, spec.name);
        // The same name may cross inside in another representation; then it is not the outer tensor.
        const bool outside = i < edges.size() && edges[i].spec == spec;
        places.push_back(outside ? Place{true, i} : Place{false, between(spec)});
      }
    };
    connect(piece.stage->inputs(), outer.inputs, piece.in);
    connect(piece.stage->outputs(), outer.outputs, piece.out);
    piece.views_in.resize(piece.in.size());
    piece.views_out.resize(piece.out.size());
    pieces_.push_back(std::move(piece));
  }
  for (Piece& piece : pieces_) piece.stage->prepare();
}

PieceChain::~PieceChain() = default;

Status PieceChain::run(const Batch& batch) {
  for (std::size_t f = 0; f < batch.frames; ++f) {
    for (Piece& piece : pieces_) {
      const auto view = [&](const Place& place, std::span<const TensorView> outer, std::size_t n) {
        return place.outer ? outer[f * n + place.index] : between_[place.index].view();
      };
      for (std::size_t i = 0; i < piece.in.size(); ++i)
        piece.views_in[i] = view(piece.in[i], batch.inputs, n_in_);
      for (std::size_t i = 0; i < piece.out.size(); ++i)
        piece.views_out[i] = view(piece.out[i], batch.outputs, n_out_);
      const Ticket ticket = piece.stage->submit({1, piece.views_in, piece.views_out});
      Status status = piece.stage->wait(ticket, Clock::time_point::max());
      if (!status.ok()) return status;
    }
  }
  return {};
}

}  // namespace splitcnn::inline v0::gpu
