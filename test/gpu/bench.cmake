# gpu_bench beside the fake device: lines as the contract has them, a file that begins with the first line, a table. And where there is no
# GPU: the reason, exit code 77, and nothing written, by gpu_bench and by gpu_all.sh.
cmake_minimum_required(VERSION 3.25)
file(REMOVE_RECURSE "${FOLDER}")
file(MAKE_DIRECTORY "${FOLDER}/none" "${FOLDER}/fake")

function(expect what actual pattern)
  if(NOT actual MATCHES "${pattern}")
    message(FATAL_ERROR "${what}: expected '${pattern}', got:\n${actual}")
  endif()
endfunction()
function(expect_nothing_in folder)
  file(GLOB written "${folder}/*")
  if(written)
    message(FATAL_ERROR "without a GPU something was written: ${written}")
  endif()
endfunction()

set(ENV{SPLITCNN_GPU_PLUGIN} "${FOLDER}/no_plugin.so")
execute_process(COMMAND "${BENCH}" lenet5 --results "${FOLDER}/none" OUTPUT_VARIABLE out ERROR_VARIABLE err RESULT_VARIABLE code)
expect("without a GPU: exit code" "${code}" "^77$")
expect("without a GPU: reason" "${err}" "there is no such file.*nothing was timed")
expect_nothing_in("${FOLDER}/none")

execute_process(COMMAND "${SCRIPT}" --no-build --build "${BUILD}" --results "${FOLDER}/none" lenet5
  OUTPUT_VARIABLE out ERROR_VARIABLE err RESULT_VARIABLE code)
expect("gpu_all.sh without a GPU: exit code" "${code}" "^77$")
expect("gpu_all.sh without a GPU: reason" "${err}" "there is no such file.*nothing was written")
expect_nothing_in("${FOLDER}/none")

set(ENV{SPLITCNN_GPU_PLUGIN} "${PLUGIN}")
execute_process(COMMAND "${BENCH}" lenet5 lenet5@2 --results "${FOLDER}/fake" --python "" --round-ms 1
  OUTPUT_VARIABLE out ERROR_VARIABLE err RESULT_VARIABLE code)
expect("on the fake device: exit code (${err})" "${code}" "^0$")
expect("table" "${out}" "Fake GPU.*net +batch +ours +torch eager +torch graph +torch compile +rel-L2 +top-1\nlenet5 +1 .*lenet5@2 +16 [^\n]* equal\nno peer: ")
file(GLOB files "${FOLDER}/fake/*")
expect("file" "${files}" "/gpu-fake-gpu-20[0-9][0-9]-[01][0-9]-[0-3][0-9]\\.jsonl$")
file(READ "${files}" rest)
set(count 0)
while(rest MATCHES "^([^\n]+)\n")  # not as a list: that is no place for brackets
  set(line "${CMAKE_MATCH_1}")
  string(LENGTH "${line}\n" length)
  string(SUBSTRING "${rest}" ${length} -1 rest)
  math(EXPR count "${count} + 1")
  foreach(key net batch ours_ms peer peer_ms ratio rel_l2 top1_equal)
    string(JSON type ERROR_VARIABLE missing TYPE "${line}" ${key})
    expect("${key} of ${line}" "${missing}" "^NOTFOUND$")
  endforeach()
  string(JSON rel_l2 GET "${line}" rel_l2)
  string(JSON equal GET "${line}" top1_equal)
  string(JSON reason GET "${line}" peer_missing)
  # FP16 against float32: not zero, and not much.
  if(NOT rel_l2 GREATER 0 OR NOT rel_l2 LESS 0.002 OR NOT equal OR NOT reason)
    message(FATAL_ERROR "rel_l2, top1_equal or peer_missing: ${line}")
  endif()
endwhile()
if(NOT count EQUAL 10)
  message(FATAL_ERROR "two networks and five batches make ten lines, not ${count}")
endif()

# A peer that cannot be started is missing, not fatal; a network that does not exist is said and fails.
execute_process(COMMAND "${BENCH}" lenet5 nonesuch --python "${FOLDER}/no_python" --round-ms 1
  OUTPUT_VARIABLE out ERROR_VARIABLE err RESULT_VARIABLE code)
expect("a network that is none: exit code" "${code}" "^1$")
expect("a network that is none" "${out}" "no_python cannot be started.*not timed: nonesuch: ")
