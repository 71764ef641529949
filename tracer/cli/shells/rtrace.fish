# fish completion for rtrace. rtrace itself says what fits; see tracer/cli/completing.py for the
# lines that it answers with.

function __rtrace_complete
    set -l tokens (commandline -opc)
    set -l current (commandline -ct)
    set -l mark (contains -i -- -- $tokens)
    if set -q mark[1] # a command to record
        set -l command $tokens[(math $mark + 1)..-1]
        test $mark -lt (count $tokens); or set command
        complete -C (string join ' ' -- (string escape -- $command) $current)
        return
    end
    # --option=value, LABEL=capture: fish wants the whole word
    set -l prefix (string match -r -- '^[^/=]*=' $current; or echo '')
    set -l rest (string replace -r -- '^[^/=]*=' '' $current)
    set -l program (string replace -r -- '^~/' $HOME/ $tokens[1])
    for line in (_RTRACE_COMPLETE=fish_complete COMP_WORDS=(commandline -cp) \
            COMP_CWORD=$current $program 2>/dev/null)
        set -l item (string split -m 1 -- , $line)
        switch $item[1]
            case plain begin
                echo -- $prefix$item[2]
            case capture
                for path in (__fish_complete_path $rest)
                    string match -q -r -- '^[^\t]*(/|\.rtrace|\.zip)(\t|$)' $path
                    and echo -- $prefix$path
                end
            case dir
                for path in (__fish_complete_directories $rest '')
                    echo -- $prefix$path
                end
            case file
                for path in (__fish_complete_path $rest)
                    echo -- $prefix$path
                end
        end
    end
end

complete --command rtrace --no-files --keep-order --arguments '(__rtrace_complete)'
