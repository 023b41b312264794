# run(...): a command that must succeed; its output is shown when it does not.
function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE result OUTPUT_VARIABLE text ERROR_VARIABLE text)
  if(NOT result EQUAL 0)
    string(JOIN " " command ${ARGN})
    message(FATAL_ERROR "${command}\nexit ${result}\n${text}")
  endif()
  set(last_output "${text}" PARENT_SCOPE)
endfunction()

# run_program(path): the consumer must report the scores of the model.
function(run_program program)
  run("${program}" "${MODEL}")
  if(NOT last_output MATCHES "splitcnn 0\\.1\\.[0-9]+: 10 scores, best [0-9]")
    message(FATAL_ERROR "${program} said:\n${last_output}")
  endif()
  message("${last_output}")
endfunction()
