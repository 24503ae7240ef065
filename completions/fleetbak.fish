function __fleetbak_complete
    set -l words (commandline -opc) (commandline -ct)
    for candidate in (fleetbak __complete fish -- $words[2..-1] 2>/dev/null)
        if test "$candidate" = :files
            __fish_complete_path (commandline -ct)
        else
            echo $candidate
        end
    end
end
complete -c fleetbak -f -a '(__fleetbak_complete)'
