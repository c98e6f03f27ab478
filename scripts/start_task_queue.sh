#!/usr/bin/env bash
# Worker, scheduler and (where it is installed) Flower in the background, each with a log in ./logs.
#
#   scripts/start_task_queue.sh             start, and say how to stop
#   scripts/start_task_queue.sh foreground  start, stay until Ctrl-C, stop
#   scripts/start_task_queue.sh stop        finish what runs, then end; ends only what start has started
#   scripts/start_task_queue.sh restart
#   scripts/start_task_queue.sh status      a line each; exit 0 when worker and scheduler run, else 1
#
# MARKETJOBS_COMMAND names another `marketjobs`, STOP_SECONDS how long stop waits before it insists (default 60).
# Settings are those of the `marketjobs` command: its configuration, its environment.
set -u

marketjobs=${MARKETJOBS_COMMAND:-marketjobs}
stop_seconds=${STOP_SECONDS:-60}
logs=logs

log_of() {
  case $1 in
    worker) echo "$logs/celery_worker.log" ;;
    beat) echo "$logs/celery_beat.log" ;;
    *) echo "$logs/$1.log" ;;
  esac
}

say() { printf '%s\n' "$*"; }

proc() {  # proc PID: its state and the moment it began, in the system's own words; fails where there is none
  local stat
  if [ -r /proc/self/stat ]; then
    stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
    # After the name, which may hold anything, come state (1st) and start (20th).
    set -- ${stat##*) }
    echo "$1 ${20}"
  else
    LC_ALL=C ps -o stat=,lstart= -p "$1" 2>/dev/null | tr -s ' '
  fi
}

began() {  # began PID: tells a process from a later one with the same number
  local known
  known=$(proc "$1") || return 1
  echo "${known#* }"
}

pid_of() {  # pid_of NAME: the process that start has started, if it still runs; else fails
  local pid when known
  [ -r "$logs/$1.pid" ] || return 1
  { read -r pid && read -r when; } <"$logs/$1.pid" || return 1
  case $pid in '' | *[!0-9]*) return 1 ;; esac
  known=$(proc "$pid") || return 1
  [ "${known#* }" = "$when" ] || return 1
  case $known in Z*) return 1 ;; esac # ended, but nobody has looked yet
  echo "$pid"
}

launch() {  # launch NAME: `marketjobs NAME` in the background
  local log pid
  log=$(log_of "$1")
  # A session of its own where the system has setsid: Ctrl-C here does not reach it, closing the terminal neither.
  if command -v setsid >/dev/null; then
    setsid "$marketjobs" "$1" >>"$log" 2>&1 </dev/null &
  else
    nohup "$marketjobs" "$1" >>"$log" 2>&1 </dev/null &
  fi
  pid=$!
  printf '%s\n%s\n' "$pid" "$(began "$pid")" >"$logs/$1.pid"
  say "$1 started (pid $pid), log $log"
}

flower_is_installed() {  # asks the Python that the command itself runs on, which its first line names
  local python
  python=$(sed -n '1s/^#!//p' "$(command -v "$marketjobs")" 2>/dev/null | tr -d '\0')
  [ -x "$python" ] && "$python" -c 'import flower' 2>/dev/null
}

lock() {  # of two that start at once, one does; a link appears whole or not at all
  local mine="$logs/start.$$"
  mkdir -p "$logs" || exit 1
  printf '%s\n%s\n' "$$" "$(began $$)" >"$mine"
  if ! ln "$mine" "$logs/start.pid" 2>/dev/null; then
    # One that was killed has left its lock.
    if pid_of start >/dev/null || ! rm "$logs/start.pid" || ! ln "$mine" "$logs/start.pid" 2>/dev/null; then
      rm -f "$mine"
      say "another start is at work here" >&2
      exit 1
    fi
  fi
  rm -f "$mine"
  trap unlock EXIT
}

unlock() {
  rm -f "$logs/start.pid"
  trap - EXIT
}

start() {
  local name running=''
  command -v "$marketjobs" >/dev/null || {
    say "there is no command $marketjobs: activate its environment, or pip install ." >&2
    exit 1
  }
  # Settings that can't be right are told here, in one line, not in three logs.
  "$marketjobs" --quiet config show >/dev/null || exit $?
  lock
  for name in worker beat flower; do
    pid_of "$name" >/dev/null && running="$running $name"
  done
  if [ -n "$running" ]; then
    say "runs already:$running (stop it: $0 stop)" >&2
    exit 1
  fi
  launch worker
  launch beat
  if flower_is_installed; then
    launch flower
  else
    say "Flower is not installed; without it: pip install '.[monitoring]'"
  fi
  sleep 2
  for name in worker beat; do
    pid_of "$name" >/dev/null || {
      say "$name ended at once; the end of $(log_of "$name"):" >&2
      tail -n 5 "$(log_of "$name")" >&2
      stop >&2
      exit 1
    }
  done
  unlock
}

send() {  # send SIGNAL NAME...: to those that run
  local signal=$1 name pid
  shift
  for name in "$@"; do
    pid=$(pid_of "$name") && kill -s "$signal" "$pid" 2>/dev/null
  done
  return 0
}

any_runs() {
  local name
  for name in worker beat flower; do
    pid_of "$name" >/dev/null && return 0
  done
  return 1
}

wait_for_end() {  # wait_for_end SECONDS
  local tenths=$(($1 * 10))
  while any_runs; do
    [ "$tenths" -le 0 ] && return 1
    tenths=$((tenths - 1))
    sleep 0.1
  done
}

stop() {
  local name
  if ! any_runs; then
    say "nothing of ours runs"
    rm -f "$logs/worker.pid" "$logs/beat.pid" "$logs/flower.pid"
    return 0
  fi
  say "stopping: what runs is finished first (at most $stop_seconds s)"
  send TERM worker beat flower
  if ! wait_for_end "$stop_seconds"; then
    # The second signal to a supervisor hands running jobs back to the queue.
    say "still running: its jobs go back to the queue"
    send INT worker beat flower
    if ! wait_for_end 15; then
      send INT worker beat flower
      wait_for_end 15 || {
        say "did not end:" >&2
        status >&2
        return 1
      }
    fi
  fi
  for name in worker beat flower; do
    rm -f "$logs/$name.pid"
  done
  say "stopped"
}

status() {
  local name pid code=0
  for name in worker beat flower; do
    if pid=$(pid_of "$name"); then
      say "$name runs (pid $pid), log $(log_of "$name")"
    elif [ "$name" != flower ]; then
      say "$name does not run"
      code=1
    fi
  done
  return $code
}

foreground() {
  start
  trap 'trap "" INT TERM; stop; exit $?' INT TERM
  say "Ctrl-C stops"
  while any_runs; do sleep 0.5; done
  say "all of it has ended; see $logs/" >&2
  exit 1
}

case ${1:-start} in
  start)
    start
    say "stop: $0 stop"
    ;;
  foreground) foreground ;;
  stop) stop ;;
  restart) stop && start && say "stop: $0 stop" ;;
  status) status ;;
  *)
    say "usage: $0 [start|foreground|stop|restart|status]" >&2
    exit 2
    ;;
esac
