"""A conversation outlives Ctrl-C at any moment, says what it did not understand, and stops when nobody reads."""
import os
import pty
import select
import subprocess
import sys
import time

BUILD, SOURCE = os.environ["ESSAIM_BUILD"], os.environ["ESSAIM_SOURCE"]
TINY = os.path.join(SOURCE, "models", "tiny-r1")
ESSAIM = os.path.join(BUILD, "essaim")
LONG = ["--temperature", "5", "--seed", "3"]


def read_until(terminal, text):
    seen, deadline = b"", time.monotonic() + 60
    while text not in seen:
        if time.monotonic() > deadline or not select.select([terminal], [], [], 60)[0]:
            sys.exit(f"no {text} after:\n{seen.decode(errors='replace')}")
        seen += os.read(terminal, 4096)
    return seen


def check_terminal():
    """As a person would: a command that does not exist, blanks, Ctrl-C in an answer and at the prompt."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(ESSAIM, [ESSAIM, "chat", "--model", TINY, "--experts", "2", *LONG])
    read_until(terminal, b"\n> ")
    os.write(terminal, b"/nwe\n")
    read_until(terminal, b"'/nwe' is no command")
    os.write(terminal, b" \n")
    read_until(terminal, b"\n> ")
    os.write(terminal, b"Hello\n")
    read_until(terminal, b"<think>")
    os.write(terminal, b"\x03")
    read_until(terminal, b"cancelled]\r\n> ")
    os.write(terminal, b"\x03")
    read_until(terminal, b"once more ends")
    os.write(terminal, b"Hello\n")
    read_until(terminal, b"<think>")
    os.write(terminal, b"\x03")
    read_until(terminal, b"cancelled]\r\n> ")
    os.write(terminal, b"\x03")
    read_until(terminal, b"once more ends, as /exit and Ctrl-D do.\r\n> ")
    os.write(terminal, b"\x03")
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code != 0:
        sys.exit(f"the conversation ended with code {code}")
    print("a conversation at a terminal goes on after a wrong command, blanks and Ctrl-C")


def check_reader_gone():
    for command in (["run", "--model", TINY, *LONG, "hi"], ["up", "--model", TINY, *LONG, "--once", "hi"]):
        process = subprocess.Popen([ESSAIM, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
        process.stdout.read(1)
        process.stdout.close()
        stderr = process.stderr.read().decode()
        wanted = f"essaim {command[0]}: standard output: Broken pipe\n"
        if process.wait(timeout=60) != 1 or not stderr.endswith(wanted) or "prompt tokens" in stderr:
            sys.exit(f"{command[0]} without a reader: exit code {process.returncode}, stderr:\n{stderr}")
        print(f"{command[0]} stops when nobody reads its answer")


def check_blank_question():
    for question in ("", " \n"):
        done = subprocess.run([ESSAIM, "run", "--model", TINY, question], capture_output=True, text=True, timeout=60)
        if done.returncode != 1 or done.stdout or done.stderr != "essaim run: the question is blank\n":
            sys.exit(f"a blank question: exit code {done.returncode}, {done.stdout}{done.stderr}")
    print("a blank question is an error")


check_terminal()
check_reader_gone()
check_blank_question()
