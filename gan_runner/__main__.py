from gan_runner.main import main

main()
