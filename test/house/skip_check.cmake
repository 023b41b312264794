# A test that cannot run says SKIP and why and exits with 77; SPLITCNN_REQUIRE makes it fail; other kinds do not matter.
cmake_minimum_required(VERSION 3.25)
set(log "${PROGRAM}.skips")
file(REMOVE "${log}")
set(ENV{SPLITCNN_SKIP_LOG} "${log}")

function(run required expected_result expected_text)
  set(ENV{SPLITCNN_REQUIRE} "${required}")
  execute_process(COMMAND "${PROGRAM}" OUTPUT_VARIABLE out ERROR_VARIABLE out RESULT_VARIABLE result)
  if(NOT result MATCHES "^(${expected_result})$" OR NOT out MATCHES "${expected_text}")
    message(FATAL_ERROR "SPLITCNN_REQUIRE='${required}': exit ${result}, expected ${expected_result}; output:\n${out}")
  endif()
endfunction()

run("" 77 "SKIP: no data on purpose")
run("cudnn,vart" 77 "SKIP: no data on purpose")
run("data" "[1-9]|[1-3][0-9]" "forbids this skip: no data on purpose")
run("cudnn,data" "[1-9]|[1-3][0-9]" "forbids this skip: no data on purpose")

file(STRINGS "${log}" lines)
list(LENGTH lines count)
if(NOT count EQUAL 2)
  message(FATAL_ERROR "two skips should be in ${log}, there are ${count}")
endif()
